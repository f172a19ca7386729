//! Turns a file of `copy`, `write` and `start` lines into an image.

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Frontend, Plugin};
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{CopyAction, Output};
use kiln_sdk::wit::types::{HostError, ImageConfig};

/// The component.
struct Component;

const DEFAULT: &str = "image.txt";
const USAGE: &str = "write `copy SOURCE TARGET`, `write PATH TEXT…` or `start WORD…`";

impl Plugin for Component {
    fn describe() -> PluginInfo {
        PluginInfo::new("{{name}}", env!("CARGO_PKG_VERSION"), "makes images of files and lines of text")
            .rules([
                Rule::error("no-build-file", "the build file cannot be read"),
                Rule::error("unknown-line", "a line that says nothing known"),
                Rule::error("relative-path", "a path in the image is not absolute"),
            ])
            .example("A file and a command", "write /etc/motd welcome\nstart /bin/server\n")
    }
}

impl Frontend for Component {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        let file = if request.file.is_empty() { DEFAULT } else { &request.file };
        let text = read(file).map_err(|error| {
            let problem = Diagnostic::error("no-build-file", format!("could not read `{file}`: {}", error.message));
            BuildFailure { diagnostics: vec![problem] }
        })?;
        let mut image = Image::default();
        for (number, line) in text.lines().enumerate() {
            let at = Span::on_line(file, number as u32 + 1, 1, line.chars().count() as u32 + 1);
            image.line(line.trim(), &at);
        }
        if !image.problems.is_empty() {
            return Err(BuildFailure { diagnostics: image.problems });
        }
        let platform = request.platforms.into_iter().next().unwrap_or(request.build_platform);
        let target = TargetResult::new(platform, image.root, image.config);
        Ok(BuildResult::new(image.graph.finish(), vec![target]))
    }
}

/// The build file, which need not lie in the context.
fn read(file: &str) -> Result<String, HostError> {
    contexts::open_build_file()?.read_text(file)
}

/// An image that grows line by line.
#[derive(Default)]
struct Image {
    graph: GraphBuilder,
    context: Option<Output>,
    root: Option<Output>,
    config: ImageConfig,
    problems: Vec<Diagnostic>,
}

impl Image {
    fn line(&mut self, line: &str, at: &Span) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest.trim().split_once(' ')) {
            ("", _) => {}
            (comment, _) if comment.starts_with('#') => {}
            ("copy", Some((source, target))) => {
                let context = self.context();
                self.write(target.trim(), line, at, |graph, root, target| {
                    let copy = CopyAction::new(context, vec![source.to_owned()], target);
                    graph.copy(root, CopyAction { contents_only: true, ..copy })
                });
            }
            ("write", Some((path, text))) => {
                let text = format!("{}\n", text.trim());
                self.write(path, line, at, |graph, root, path| {
                    let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
                    let root = if parent.is_empty() { root } else { Some(graph.make_dir(root, parent, None)) };
                    graph.make_file(root, path, text.into_bytes(), 0o644)
                });
            }
            ("start", _) if !rest.trim().is_empty() => {
                self.config.cmd = Some(rest.split_whitespace().map(str::to_owned).collect());
            }
            _ => self.problems.push(
                Diagnostic::error("unknown-line", format!("`{line}` says nothing known")).at(at).help(USAGE),
            ),
        }
    }

    /// The build context, asked for once.
    fn context(&mut self) -> Output {
        *self.context.get_or_insert_with(|| self.graph.build_context(""))
    }

    fn write(
        &mut self,
        path: &str,
        line: &str,
        at: &Span,
        write: impl FnOnce(&mut GraphBuilder, Option<Output>, &str) -> Output,
    ) {
        if !path.starts_with('/') {
            let problem = Diagnostic::error("relative-path", format!("`{path}` is not an absolute path"));
            self.problems.push(problem.at(at).help("begin it with `/`"));
            return;
        }
        self.graph = std::mem::take(&mut self.graph).at(at, line);
        self.root = Some(write(&mut self.graph, self.root, path));
    }
}

kiln_sdk::export_frontend!(Component);

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Image {
        let mut image = Image::default();
        for (number, line) in text.lines().enumerate() {
            image.line(line, &Span::on_line("image.txt", number as u32 + 1, 1, 2));
        }
        image
    }

    #[test]
    fn each_line_does_one_thing() {
        let image = image("# nothing\n\nwrite /motd hello\ncopy a /b\nstart /bin/server --port 80");
        assert!(image.problems.is_empty() && image.root.is_some());
        assert_eq!(image.config.cmd.expect("a command"), ["/bin/server", "--port", "80"]);
    }

    #[test]
    fn each_mistake_has_its_code() {
        let codes = |text: &str| -> Vec<String> { image(text).problems.into_iter().map(|it| it.code).collect() };
        assert_eq!(codes("paint it black\nwrite motd hello\ncopy a"), ["unknown-line", "relative-path", "unknown-line"]);
    }
}
