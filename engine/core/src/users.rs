//! Turns names of users and groups into numbers by the passwd and group files of a tree.

use crate::graph::Owner;

/// Where names are looked up, below the root of the tree.
pub const PASSWD: &str = "/etc/passwd";
pub const GROUP: &str = "/etc/group";

/// Reads one of the two files, links followed inside the root; `None` when there is none.
pub type ReadFile<'f> = dyn FnMut(&'static str) -> Result<Option<Vec<u8>>, String> + 'f;

/// Who a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, sorted, `gid` among them.
    pub groups: Vec<u32>,
    /// Of the user's passwd entry; `/root` for root without one, `/` for others.
    pub home: Vec<u8>,
}

/// A user or group that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("no {what} named `{name}` in `{file}`")]
    Unknown { what: &'static str, name: String, file: &'static str },
    #[error("no {what} named `{name}`: there is no `{file}`; write a number instead")]
    NoFile { what: &'static str, name: String, file: &'static str },
    #[error("`{0}` is too large for a user or group number")]
    Number(String),
    #[error("could not read `{file}`: {why}")]
    Read { file: &'static str, why: String },
}

struct Line<'a> {
    name: &'a [u8],
    fields: Vec<&'a [u8]>,
}

/// The well-formed lines of either file.
fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|b| *b == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.trim_ascii().split(|b| *b == b':').collect();
        let named = !fields[0].is_empty() && !fields[0].starts_with(b"#");
        (named && fields.len() > 2).then(|| Line { name: fields[0], fields })
    })
}

impl Line<'_> {
    fn number(&self, field: usize) -> Option<u32> {
        std::str::from_utf8(self.fields.get(field)?).ok()?.parse().ok()
    }

    fn has_member(&self, name: &[u8]) -> bool {
        self.fields.get(3).is_some_and(|members| members.split(|b| *b == b',').any(|m| m == name))
    }
}

/// What is written where a user or group is expected.
enum Id<'a> {
    Number(u32),
    Name(&'a str),
}

fn id(text: &str) -> Result<Id<'_>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Id::Name(text));
    }
    // The largest number means "no change" to the kernel.
    let number = text.parse().ok().filter(|n| *n != u32::MAX);
    number.map(Id::Number).ok_or_else(|| UserError::Number(text.to_owned()))
}

fn load(file: &'static str, read: &mut ReadFile<'_>) -> Result<Option<Vec<u8>>, UserError> {
    read(file).map_err(|why| UserError::Read { file, why })
}

fn unknown(what: &'static str, name: &str, file: &'static str, text: Option<&[u8]>) -> UserError {
    let name = name.to_owned();
    match text {
        Some(_) => UserError::Unknown { what, name, file },
        None => UserError::NoFile { what, name, file },
    }
}

fn group_number(group: &str, read: &mut ReadFile<'_>) -> Result<u32, UserError> {
    let name = match id(group)? {
        Id::Number(gid) => return Ok(gid),
        Id::Name("root") => return Ok(0),
        Id::Name(name) => name,
    };
    let text = load(GROUP, read)?;
    lines(text.as_deref().unwrap_or_default())
        .find(|line| line.name == name.as_bytes())
        .and_then(|line| line.number(2))
        .ok_or_else(|| unknown("group", name, GROUP, text.as_deref()))
}

/// The numbers of an owner (`--chown`): a lone number is also the group, a lone name brings its primary group, `root`
/// is 0. Reads a file only to look up a name. As in BuildKit, a user that is nowhere is 0 and a group that is nowhere
/// the one that the user alone would bring; `missed` hears of both.
pub fn owner(
    owner: &Owner,
    read: &mut ReadFile<'_>,
    missed: &mut dyn FnMut(UserError),
) -> Result<(u32, u32), UserError> {
    let (uid, primary) = match (&owner.user[..], id(&owner.user)?) {
        ("" | "root", _) => (0, 0),
        (_, Id::Number(uid)) => (uid, uid),
        (_, Id::Name(name)) => {
            let text = load(PASSWD, read)?;
            let mut found = lines(text.as_deref().unwrap_or_default()).filter(|l| l.name == name.as_bytes());
            found.find_map(|line| Some((line.number(2)?, line.number(3)?))).unwrap_or_else(|| {
                missed(unknown("user", name, PASSWD, text.as_deref()));
                (0, 0)
            })
        }
    };
    match &owner.group[..] {
        "" => Ok((uid, primary)),
        group => match group_number(group, read) {
            Err(error @ (UserError::Unknown { .. } | UserError::NoFile { .. })) => {
                missed(error);
                Ok((uid, primary))
            }
            gid => Ok((uid, gid?)),
        },
    }
}

/// Which of [`PASSWD`] and [`GROUP`] the numbers of an owner depend on.
pub fn owner_files(owner: &Owner) -> Vec<&'static str> {
    let named = |text: &str| !matches!(text, "" | "root") && !text.bytes().all(|b| b.is_ascii_digit());
    let mut files = Vec::new();
    if named(&owner.user) {
        files.push(PASSWD);
    }
    if named(&owner.group) {
        files.push(GROUP);
    }
    files
}

/// Who `user[:group]` is to a command that runs in the tree. Empty: root, as the files have it if they can be read.
///
/// Without a group it is the primary one, with the supplementary ones; a number without a passwd entry has group 0.
/// With a group it is that one alone. The group itself is always among the supplementary ones: a file that its group
/// may not read must not open to a process that gave the group up (dockerfile.md, 13.2).
pub fn credentials(user: &str, read: &mut ReadFile<'_>) -> Result<Credentials, UserError> {
    let asked = !user.is_empty();
    let read: &mut ReadFile<'_> = &mut |file| match read(file) {
        Err(_) if !asked => Ok(None),
        read => read,
    };
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let wanted = match user {
        "" => Id::Number(0),
        user => id(user)?,
    };
    let passwd = load(PASSWD, read)?;
    let entry = lines(passwd.as_deref().unwrap_or_default()).find(|line| match wanted {
        Id::Number(uid) => line.number(2) == Some(uid),
        Id::Name(name) => line.name == name.as_bytes() && line.number(2).is_some(),
    });
    let uid = match (&wanted, &entry) {
        (Id::Number(uid), _) => *uid,
        (_, Some(entry)) => entry.number(2).unwrap_or(0),
        (Id::Name("root"), None) => 0,
        (Id::Name(name), None) => return Err(unknown("user", name, PASSWD, passwd.as_deref())),
    };
    let home = entry
        .as_ref()
        .and_then(|entry| entry.fields.get(5))
        .filter(|home| !home.is_empty())
        .map_or(if uid == 0 { b"/root" } else { &b"/"[..] }, |home| home);
    let mut groups = Vec::new();
    let gid = match (group, &entry) {
        (Some(group), _) => group_number(group, read)?,
        (None, None) => 0,
        (None, Some(entry)) => {
            let text = load(GROUP, read)?.unwrap_or_default();
            let member = lines(&text).filter(|line| line.has_member(entry.name));
            groups.extend(member.filter_map(|line| line.number(2)));
            entry.number(3).unwrap_or(0)
        }
    };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(Credentials { uid, gid, groups, home: home.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 2] = [
        (
            PASSWD,
            "root:x:0:0:root:/root:/bin/sh\n# no\nbroken\napp:x:1000:1001:,,,:/home/app:/bin/sh\nnohome:x:7:8::\n",
        ),
        (GROUP, "root:x:0:\napp:x:1001:\ndocker:x:99:root,app\naudio:x:29:app\n"),
    ];

    fn read(file: &'static str) -> Result<Option<Vec<u8>>, String> {
        Ok(FILES.iter().find(|f| f.0 == file).map(|f| f.1.into()))
    }

    fn none(_: &'static str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn owned(user: &str, group: &str) -> Result<(u32, u32), UserError> {
        let given = Owner { user: user.into(), group: group.into() };
        owner(&given, &mut read, &mut |missed| panic!("{missed}"))
    }

    #[test]
    fn owners_are_numbers_or_looked_up() {
        assert_eq!(owned("", ""), Ok((0, 0)));
        assert_eq!(owned("5", ""), Ok((5, 5)));
        assert_eq!(owned("5", "root"), Ok((5, 0)));
        assert_eq!(owned("app", ""), Ok((1000, 1001)));
        assert_eq!(owned("app", "audio"), Ok((1000, 29)));
        assert_eq!(owned("", "docker"), Ok((0, 99)));
    }

    #[test]
    fn a_name_that_is_nowhere_is_0_and_told_with_the_file() {
        let missing = |user: &str, group: &str, read: &mut ReadFile<'_>| {
            let mut missed = Vec::new();
            let given = Owner { user: user.into(), group: group.into() };
            let ids = owner(&given, read, &mut |error| missed.push(error.to_string())).unwrap();
            (ids, missed)
        };
        let user = "no user named `nobody` in `/etc/passwd`".to_owned();
        let group = "no group named `staff` in `/etc/group`".to_owned();
        assert_eq!(missing("nobody", "", &mut read), ((0, 0), vec![user.clone()]));
        assert_eq!(missing("nobody", "audio", &mut read), ((0, 29), vec![user.clone()]));
        assert_eq!(missing("nobody", "staff", &mut read), ((0, 0), vec![user, group]));
        let group = "no group named `staff`: there is no `/etc/group`; write a number instead".to_owned();
        assert_eq!(missing("1", "staff", &mut none), ((1, 1), vec![group]));
        assert!(matches!(owned("4294967296", ""), Err(UserError::Number(_))));
    }

    #[test]
    fn files_matter_only_for_names() {
        let files = |user: &str, group: &str| owner_files(&Owner { user: user.into(), group: group.into() });
        assert!(files("root", "5").is_empty());
        assert_eq!(files("app", "app"), [PASSWD, GROUP]);
    }

    fn runs(user: &str) -> (u32, u32, Vec<u32>, String) {
        let c = credentials(user, &mut read).unwrap();
        (c.uid, c.gid, c.groups, String::from_utf8(c.home).unwrap())
    }

    #[test]
    fn commands_run_with_the_groups_of_their_user() {
        assert_eq!(runs(""), (0, 0, vec![0, 99], "/root".into()));
        assert_eq!(runs("root"), (0, 0, vec![0, 99], "/root".into()));
        assert_eq!(runs("app"), (1000, 1001, vec![29, 99, 1001], "/home/app".into()));
        assert_eq!(runs("1000"), (1000, 1001, vec![29, 99, 1001], "/home/app".into()));
        assert_eq!(runs("app:audio"), (1000, 29, vec![29], "/home/app".into()));
        assert_eq!(runs("4444"), (4444, 0, vec![0], "/".into()));
        assert_eq!(runs("nohome:3"), (7, 3, vec![3], "/".into()));
        assert!(credentials("nobody", &mut read).is_err());
    }

    #[test]
    fn root_and_numbers_need_no_files() {
        assert_eq!(credentials("root", &mut none).unwrap().uid, 0);
        let plain = credentials("12:34", &mut none).unwrap();
        assert_eq!((plain.uid, plain.gid), (12, 34));
    }

    #[test]
    fn files_that_cannot_be_read_matter_only_to_a_user_that_was_asked_for() {
        let mut broken = |_: &'static str| Err("it is not a regular file".to_owned());
        let root = credentials("", &mut broken).unwrap();
        assert_eq!((root.uid, root.gid, root.groups), (0, 0, vec![0]));
        assert!(matches!(credentials("root", &mut broken), Err(UserError::Read { .. })));
    }
}
