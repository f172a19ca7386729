//! What every program expects of the image it runs in: who users are, who is trusted, what time it is elsewhere, and a
//! directory for temporary files.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::frontend_types::BuildFailure;
use kiln_sdk::wit::graph::{CopyAction, FileAction, MakeDirAction, MakeFileAction, Output, Owner};

use crate::builder::{Builder, Facts};
use crate::dockerfile::word;
use crate::options::bad;
use crate::reasons::Reasons;

/// Where programs look for certificates.
pub const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where programs look for time zones.
pub const ZONEINFO: &str = "/usr/share/zoneinfo";

/// `/etc/nsswitch.conf`, without which some programs ask name servers before `/etc/hosts`.
pub const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Parts of the time zone database that no program asks for by these names: the same zones again counted with and without leap
/// seconds, and links that say what this machine's zone is.
pub const ZONEINFO_BESIDES: [&str; 5] = ["posix", "right", "localtime", "posixrules", "leap*"];

/// The furniture of one image.
#[derive(Clone, Debug, Default)]
pub struct Furniture {
    /// Text of `/etc/passwd` and of `/etc/group`.
    pub passwd: String,
    pub group: String,
    /// Numbers of the user that the image runs as.
    pub uid: u32,
    pub gid: u32,
    /// Bundle of CA certificates and directory of time zones in the builder image; absent where the image gets none.
    pub certificates: Option<String>,
    pub zoneinfo: Option<String>,
}

/// What of the furniture the program has use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub certificates: bool,
    pub zoneinfo: bool,
}

impl Furniture {
    /// Furniture for a user, with what the builder image has. What is wanted and not there is a warning that says which package
    /// brings it.
    ///
    /// # Errors
    ///
    /// The user is a name that only an image of its own could know.
    pub fn new(
        user: &str,
        facts: &Facts,
        wanted: Wanted,
        preset: &str,
        reasons: &mut Reasons,
    ) -> Result<Self, BuildFailure> {
        let mut furniture = Self::of_user(user)?;
        let install = |package: &str| format!("install it with `--opt {preset}.packages={package}`");
        if wanted.certificates {
            furniture.certificates = facts.value("certificates").map(str::to_owned);
            if furniture.certificates.is_none() {
                reasons.warn(
                    "no-certificates",
                    "the builder image has no CA certificates, so the image trusts no server",
                    install("ca-certificates"),
                );
            }
        }
        if wanted.zoneinfo {
            furniture.zoneinfo = facts.value("zoneinfo").map(str::to_owned);
            if furniture.zoneinfo.is_none() {
                reasons.warn(
                    "no-zoneinfo",
                    "the builder image has no time zones, so the image knows UTC only",
                    install("tzdata"),
                );
            } else if facts.value("zoneinfo-backward").is_none() {
                reasons.warn(
                    "zoneinfo-backward",
                    "the builder image lacks older names of time zones, such as `Europe/Kiev`",
                    install("tzdata-legacy"),
                );
            }
        }
        Ok(furniture)
    }

    fn of_user(user: &str) -> Result<Self, BuildFailure> {
        let (name, group) = user.split_once(':').unwrap_or((user, ""));
        let number = |name: &str| match name {
            "root" => Some(0),
            "nonroot" => Some(65532),
            "nobody" | "nogroup" => Some(65534),
            // 4294967295 means nobody to the kernel's calls.
            number => number.parse::<u32>().ok().filter(|number| *number < u32::MAX),
        };
        let unknown = || -> BuildFailure {
            bad("user", user, "a number, or `nonroot`, `nobody` or `root`, as the image has no other users")
                .into()
        };
        let uid = number(name).ok_or_else(unknown)?;
        let gid = if group.is_empty() { uid } else { number(group).ok_or_else(unknown)? };
        let mut passwd = vec![
            "root:x:0:0:root:/root:/sbin/nologin".to_owned(),
            "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin".to_owned(),
            "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin".to_owned(),
        ];
        let mut groups =
            vec!["root:x:0:".to_owned(), "nobody:x:65534:".to_owned(), "nonroot:x:65532:".to_owned()];
        if ![0, 65532, 65534].contains(&uid) {
            passwd.push(format!("user:x:{uid}:{gid}:user:/home/user:/sbin/nologin"));
        }
        if ![0, 65532, 65534].contains(&gid) {
            groups.push(format!("user:x:{gid}:"));
        }
        Ok(Self {
            passwd: passwd.join("\n") + "\n",
            group: groups.join("\n") + "\n",
            uid,
            gid,
            certificates: None,
            zoneinfo: None,
        })
    }

    /// The home directory of the user, which is the user's own; `None` where it needs none.
    pub fn home(&self) -> Option<&'static str> {
        match self.uid {
            0 | 65534 => None,
            65532 => Some("/home/nonroot"),
            _ => Some("/home/user"),
        }
    }

    /// One layer with all of it, on nothing.
    pub fn layer(&self, graph: &mut GraphBuilder, builder: &Builder) -> Output {
        let directory = |path: &str, mode| {
            FileAction::MakeDir(MakeDirAction { path: path.to_owned(), mode, parents: true, owner: None })
        };
        let file = |path: &str, text: &str| {
            let (path, data) = (path.to_owned(), text.as_bytes().to_vec());
            FileAction::MakeFile(MakeFileAction { path, data, mode: 0o644, owner: None })
        };
        let mut actions = vec![
            directory("/etc", 0o755),
            file("/etc/passwd", &self.passwd),
            file("/etc/group", &self.group),
            file("/etc/nsswitch.conf", NSSWITCH),
            directory("/tmp", 0o1777),
        ];
        if let Some(home) = self.home() {
            let owner = Some(Owner { user: self.uid.to_string(), group: self.gid.to_string() });
            actions.push(directory("/home", 0o755));
            let (path, mode) = (home.to_owned(), 0o700);
            actions.push(FileAction::MakeDir(MakeDirAction { path, mode, parents: false, owner }));
        }
        if let Some(path) = &self.certificates {
            let copy = CopyAction::new(builder.root, vec![path.clone()], CERTIFICATES);
            let copy = CopyAction { follow_symlinks: true, mode: "u=rw,go=r".to_owned(), ..copy };
            actions.push(FileAction::Copy(copy));
        }
        if let Some(path) = &self.zoneinfo {
            let copy = CopyAction::new(builder.root, vec![path.clone()], ZONEINFO);
            let exclude_patterns = ZONEINFO_BESIDES.map(str::to_owned).to_vec();
            actions.push(FileAction::Copy(CopyAction { contents_only: true, exclude_patterns, ..copy }));
        }
        let output = graph.file(None, actions);
        graph.rename(output, "furniture");
        // The same for images of all platforms.
        graph.set_platform(output, &builder.platform);
        output
    }

    /// Shell commands that make the same files below the directory `into`, for an ejected file.
    pub fn script(&self, into: &str) -> String {
        let into = word(into);
        let mut lines =
            vec![format!("install -d -m 0755 {into}/etc"), format!("install -d -m 1777 {into}/tmp")];
        for (path, text) in
            [("passwd", self.passwd.as_str()), ("group", self.group.as_str()), ("nsswitch.conf", NSSWITCH)]
        {
            let rows: Vec<String> = text.lines().map(word).collect();
            lines.push(format!("printf '%s\\n' {} >{into}/etc/{path}", rows.join(" ")));
        }
        if let Some(home) = self.home() {
            lines.push(format!("install -d -m 0755 {into}/home"));
            lines.push(format!("install -d -m 0700 -o {} -g {} {into}{home}", self.uid, self.gid));
        }
        if let Some(path) = &self.certificates {
            lines.push(format!("install -D -m 0644 {} {into}{CERTIFICATES}", word(path)));
        }
        if let Some(path) = &self.zoneinfo {
            let (parent, _) = ZONEINFO.rsplit_once('/').unwrap_or_default();
            lines.push(format!("install -d -m 0755 {into}{parent}"));
            lines.push(format!("cp -a {} {into}{ZONEINFO}", word(path)));
            let besides = ZONEINFO_BESIDES.map(|name| format!("{into}{ZONEINFO}/{name}"));
            lines.push(format!("rm -rf {}", besides.join(" ")));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_known_by_number_and_has_a_home() {
        let of = |user| Furniture::of_user(user).unwrap();
        let usual = of("65532:65532");
        assert_eq!((usual.uid, usual.gid, usual.home()), (65532, 65532, Some("/home/nonroot")));
        assert_eq!(usual.passwd.lines().count(), 3);
        let other = of("1000:100");
        assert!(other.passwd.ends_with("user:x:1000:100:user:/home/user:/sbin/nologin\n"));
        assert!(other.group.ends_with("user:x:100:\n"));
        assert_eq!((of("root").uid, of("nobody").gid, of("7").gid), (0, 65534, 7));
    }

    #[test]
    fn a_name_that_nobody_knows_is_told() {
        for user in ["www-data", "1:staff", "4294967295", "-1"] {
            assert_eq!(Furniture::of_user(user).unwrap_err().diagnostics[0].code, "bad-option", "{user}");
        }
    }

    #[test]
    fn what_the_builder_lacks_is_a_warning_with_the_package_that_has_it() {
        let mut reasons = Reasons::new();
        let wanted = Wanted { certificates: true, zoneinfo: true };
        Furniture::new("65532", &Facts::default(), wanted, "go", &mut reasons).unwrap();
        let said: Vec<String> = reasons.into_diagnostics().into_iter().map(|one| one.help).collect();
        assert_eq!(
            said,
            [
                "install it with `--opt go.packages=ca-certificates`",
                "install it with `--opt go.packages=tzdata`"
            ]
        );
    }
}
