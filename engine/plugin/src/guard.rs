//! Keeps a plugin within the scopes of what it was granted, below the bindings and at every call.

use std::sync::Arc;

use kiln_core::graph::{GitSource, HttpSource, ImageSource, Op, SourceOp};
use kiln_core::seams::{FileInfo, FileKind, HostError, TreeView};
use kiln_core::{Diagnostic, Graph, ImageRef, TreePath};

use crate::bindings::wit;
use crate::component::Plugin;
use crate::grants::{Capability, Granted, Reach, Scope};
use crate::state::State;

const DENIED: &str = "denied";

/// What a component is told that wants what it may not have.
fn denied(plugin: &str, what: &str, missing: &str) -> HostError {
    HostError::new(DENIED, format!("{what} was not granted to `{plugin}`, which would need `{missing}`"))
}

impl Plugin {
    /// The tree, or what of it this component may see. `own` is the build file, which lies within any scope.
    pub(crate) fn narrow(&self, tree: Arc<dyn TreeView>, own: Option<&str>) -> Arc<dyn TreeView> {
        match self.granted.scope(Capability::Context) {
            None | Some(Scope::All) => tree,
            Some(scope) => Arc::new(Narrowed {
                inner: tree,
                scope: scope.clone(),
                own: own.filter(|own| !own.is_empty()).map(str::to_owned),
                plugin: self.id.name.clone(),
            }),
        }
    }

    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard { granted: &self.granted, plugin: &self.id.name }
    }
}

/// What a plugin may ask about, and its name for those who are told that it may not.
#[derive(Clone, Copy)]
pub(crate) struct Guard<'a> {
    granted: &'a Granted,
    plugin: &'a str,
}

impl Guard<'_> {
    /// # Errors
    ///
    /// `denied`.
    pub(crate) fn image(self, source: &ImageSource) -> Result<(), HostError> {
        // What is no reference is told so by whoever looks it up.
        let Ok(reference) = ImageRef::parse(&source.reference) else { return Ok(()) };
        let repository = reference.repository();
        let tagged = reference.or_latest().to_string();
        self.remote(&source.reference, &[&repository, &tagged])
    }

    /// # Errors
    ///
    /// `denied`.
    pub(crate) fn git(self, source: &GitSource) -> Result<(), HostError> {
        self.remote(&source.url, &[&place(&source.url)])
    }

    /// # Errors
    ///
    /// `denied`.
    pub(crate) fn http(self, source: &HttpSource) -> Result<(), HostError> {
        self.remote(&source.url, &[&place(&source.url)])
    }

    /// `names` are what a pattern may match of it.
    fn remote(self, shown: &str, names: &[&str]) -> Result<(), HostError> {
        let Some(scope) = self.granted.scope(Capability::Resolve) else { return Ok(()) };
        if names.iter().any(|name| scope.reach(name) == Reach::Yes) {
            return Ok(());
        }
        let missing = format!("resolve:{}", names.first().unwrap_or(&""));
        Err(denied(self.plugin, &format!("`{shown}`"), &missing))
    }

    /// Of a graph that is to be solved while planning. A file that a plugin may not read in a context is not to be read
    /// through a graph either.
    ///
    /// # Errors
    ///
    /// `denied`, for the first op that goes beyond what is granted.
    pub(crate) fn solve(self, graph: &Graph) -> Result<(), HostError> {
        let only_files = self.granted.scope(Capability::Solve) == Some(&Scope::Files);
        let part_of_contexts = self.granted.scope(Capability::Context) != Some(&Scope::All);
        for id in 0..graph.len() {
            match &graph[id].op {
                Op::Exec(_) if only_files => {
                    return Err(denied(self.plugin, "running a command while planning", "solve:exec"));
                }
                Op::Source(SourceOp::Context(_)) if part_of_contexts => {
                    return Err(denied(self.plugin, "a whole build context", "context"));
                }
                Op::Source(SourceOp::Image(source)) => self.image(source)?,
                Op::Source(SourceOp::Git(source)) => self.git(source)?,
                Op::Source(SourceOp::Http(source)) => self.http(source)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Host and path of an address, of whichever way it is written.
fn place(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    // `git@host:path`, and not a port.
    let host = match host.split_once(':') {
        Some((name, more)) if !more.is_empty() && !more.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{name}/{more}")
        }
        _ => host.to_owned(),
    };
    TreePath::clean(format!("{host}/{path}")).display().trim_start_matches('/').to_owned()
}

impl State {
    /// Tells the person what a plugin was denied, whatever the plugin makes of it.
    pub(crate) fn tell_denied(&self, error: &HostError) {
        if error.code != DENIED || !self.session.denied.borrow_mut().insert(error.message.clone()) {
            return;
        }
        let plugin = &self.plugin.id;
        let mut found = Diagnostic::warning(
            &format!("{}/denied", plugin.name),
            format!("plugin {plugin}: {}", error.message),
        );
        if let Some(missing) = error.message.rsplit('`').nth(1) {
            found =
                found.help(format!("if it is to have that, say `--allow plugin.{missing}={}`", plugin.name));
        }
        // A component that describes itself is denied nothing, for nobody answers it.
        let _ = self.tell(move |services| services.report(found));
    }

    /// As [`Self::tell_denied`], for answers that go to the component.
    pub(crate) fn tell_denials<T>(&self, answers: &[Result<T, wit::types::HostError>]) {
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            if error.code == DENIED {
                self.tell_denied(&HostError::new(DENIED, error.message.clone()));
            }
        }
    }
}

/// A tree of which a component sees a part: what matches its scope, and directories on the way there.
struct Narrowed {
    inner: Arc<dyn TreeView>,
    scope: Scope,
    /// The build file. What stands beside it under its name with an ending is with it.
    own: Option<String>,
    plugin: String,
}

impl Narrowed {
    fn reach(&self, path: &str) -> Reach {
        let clean = TreePath::clean(path).display();
        let clean = clean.trim_start_matches('/');
        let is_own = |own: &String| {
            [path, clean].iter().any(|path| {
                path.strip_prefix(own.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && !rest.contains('/'))
            })
        };
        match self.own.as_ref().is_some_and(is_own) {
            true => Reach::Yes,
            false => self.scope.reach(clean),
        }
    }

    fn denied(&self, path: &str) -> HostError {
        let clean = TreePath::clean(path).display();
        denied(&self.plugin, &format!("`{path}`"), &format!("context:{}", clean.trim_start_matches('/')))
    }

    /// Refuses what is not wholly within the scope, as it is written and as it is found.
    fn wholly(&self, path: &str) -> Result<(), HostError> {
        if self.reach(path) < Reach::Yes {
            return Err(self.denied(path));
        }
        match self.reach(&self.inner.real_path(path)?) {
            Reach::Yes => Ok(()),
            _ => Err(self.denied(path)),
        }
    }

    /// Where a path leads that may be a directory on the way to the scope.
    fn leading(&self, path: &str) -> Result<String, HostError> {
        if self.reach(path) == Reach::No {
            return Err(self.denied(path));
        }
        let real = self.inner.real_path(path)?;
        match self.reach(&real) {
            Reach::No => Err(self.denied(path)),
            _ => Ok(real),
        }
    }

    fn shows(&self, path: &str, kind: FileKind) -> bool {
        match self.reach(path) {
            Reach::Yes => true,
            Reach::Leads => kind == FileKind::Directory,
            Reach::No => false,
        }
    }
}

impl TreeView for Narrowed {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.wholly(path)?;
        self.inner.read(path, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        let (above, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        // Of the last component the link itself is looked at, of those above where they lead.
        let found = match (self.reach(path), above) {
            (Reach::No, _) => return Err(self.denied(path)),
            (_, "") => path.to_owned(),
            (_, above) => format!("{}/{name}", self.inner.real_path(above)?),
        };
        let info = self.inner.stat(path)?;
        match self.shows(path, info.kind) && self.shows(&found, info.kind) {
            true => Ok(info),
            false => Err(self.denied(path)),
        }
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.leading(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        let real = self.leading(path)?;
        let mut children = self.inner.children(path)?;
        children.retain(|child| {
            let name = child.path.rsplit('/').next().unwrap_or_default();
            self.shows(&format!("{real}/{name}"), child.kind)
        });
        Ok(children)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        let mut found = self.inner.glob(patterns, usize::MAX)?;
        found.retain(|info| self.shows(&info.path, info.kind));
        match found.len() > limit {
            true => Err(HostError::new("limit", format!("more than {limit} entries match"))),
            false => Ok(found),
        }
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.wholly(path)?;
        self.inner.hash(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_host_and_path() {
        for (address, expected) in [
            ("https://github.com/acme/x.git", "github.com/acme/x.git"),
            ("https://token@github.com/acme/../x.git#main", "github.com/x.git"),
            ("git@github.com:acme/x.git", "github.com/acme/x.git"),
            ("ssh://git@host:22/x", "host:22/x"),
            ("http://deb.example.org/pool/a.deb?x=/../..", "deb.example.org/pool/a.deb"),
        ] {
            assert_eq!(place(address), expected, "{address}");
        }
    }

    #[test]
    fn a_graph_that_is_solved_while_planning_holds_no_more_than_is_granted() {
        let source = |op| kiln_core::Vertex {
            op,
            inputs: Vec::new(),
            platform: kiln_core::Platform::host(),
            name: String::new(),
            group: String::new(),
            no_lookup: false,
            origin: Vec::new(),
        };
        let graph = |op| {
            let mut graph = Graph::default();
            graph.push(source(op));
            graph
        };
        let exec = || graph(Op::Exec(kiln_core::graph::ExecOp::default()));
        let context = || {
            let source = kiln_core::graph::ContextSource { name: String::new(), ignore: None };
            graph(Op::Source(SourceOp::Context(source)))
        };
        let http = || {
            let url = "https://deb.example.org/pool/a.deb".to_owned();
            graph(Op::Source(SourceOp::Http(HttpSource { url, checksum: None, filename: String::new() })))
        };
        let asked = |grants: &[&str], graph: Graph| {
            let grants: Vec<crate::Grant> =
                grants.iter().map(|text| text.parse().expect("a grant")).collect();
            let granted = Granted::of(Capability::usual(true, true), &grants);
            Guard { granted: &granted, plugin: "p" }.solve(&graph).map_err(|error| error.message)
        };
        assert_eq!(asked(&["solve"], exec()), Ok(()));
        assert_eq!(
            asked(&["solve:files"], exec()).unwrap_err(),
            "running a command while planning was not granted to `p`, which would need `solve:exec`"
        );
        assert_eq!(asked(&["solve:files"], context()), Ok(()));
        assert!(asked(&["solve", "context:app"], context()).unwrap_err().contains("`context`"));
        assert_eq!(asked(&["solve:files", "resolve:deb.example.org/pool"], http()), Ok(()));
        assert!(
            asked(&["solve", "resolve:docker.io/library/*"], http())
                .unwrap_err()
                .contains("resolve:deb.example.org")
        );
    }

    /// Knows paths, and that `app/link` leads to `secret`.
    struct Paths;

    impl TreeView for Paths {
        fn read(&self, path: &str, _: u64, _: usize) -> Result<Vec<u8>, HostError> {
            Ok(path.as_bytes().to_vec())
        }

        fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
            let kind = match path.contains('.') {
                true => FileKind::Regular,
                false if path.ends_with("link") => FileKind::Symlink,
                false => FileKind::Directory,
            };
            let path = path.to_owned();
            Ok(FileInfo { path, kind, size: 0, mode: 0o644, uid: 0, gid: 0, target: String::new() })
        }

        fn real_path(&self, path: &str) -> Result<String, HostError> {
            Ok(path.replace("app/link", "secret"))
        }

        fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
            let names = ["app", "secret", "x.txt"];
            names.iter().map(|name| self.stat(&format!("{path}/{name}"))).collect()
        }

        fn glob(&self, _: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
            ["app", "app/a.c", "secret/b.c", "x.c"].iter().map(|path| self.stat(path)).collect()
        }

        fn hash(&self, path: &str) -> Result<String, HostError> {
            Ok(path.to_owned())
        }
    }

    fn narrowed() -> Narrowed {
        let pattern = crate::grants::Pattern::parse("app/**").expect("a pattern");
        Narrowed {
            inner: Arc::new(Paths),
            scope: Scope::Only(vec![pattern]),
            own: Some("Dockerfile".to_owned()),
            plugin: "p".to_owned(),
        }
    }

    #[test]
    fn a_narrow_tree_shows_its_part_and_the_way_there() {
        let tree = narrowed();
        for path in ["app/a.c", "./app//a.c", "x/../app/a.c", "Dockerfile", "Dockerfile.dockerignore"] {
            assert!(tree.read(path, 0, 9).is_ok(), "{path}");
        }
        for path in ["app", "x.txt", "app/../x.txt", "app/link/b.c", "Dockerfiles", "Dockerfile.d/x", "", "/"]
        {
            let error = tree.read(path, 0, 9).unwrap_err();
            assert_eq!(error.code, "denied", "{path}");
            assert_eq!(tree.hash(path).unwrap_err().code, "denied", "{path}");
        }
        assert_eq!(
            tree.read("secret/b.c", 0, 9).unwrap_err().message,
            "`secret/b.c` was not granted to `p`, which would need `context:secret/b.c`"
        );
        assert!(tree.stat("app").is_ok() && tree.stat("app/link").is_ok());
        for path in ["secret", "app/link/b.c", "x.txt"] {
            assert_eq!(tree.stat(path).unwrap_err().code, "denied", "{path}");
        }
        assert_eq!(tree.real_path("app/link").unwrap_err().code, "denied");
        let names = |found: Vec<FileInfo>| found.into_iter().map(|info| info.path).collect::<Vec<_>>();
        assert_eq!(names(tree.children("").unwrap()), ["/app"]);
        assert_eq!(tree.children("app/link").unwrap_err().code, "denied");
        assert_eq!(names(tree.glob(&[], 2).unwrap()), ["app", "app/a.c"]);
        assert_eq!(tree.glob(&[], 1).unwrap_err().code, "limit");
    }
}
