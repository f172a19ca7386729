//! Reads `go.mod` and `go.work` as far as planning needs them (go.dev/ref/mod, "go.mod files" and "Workspaces").
//!
//! What is wrong with a file is for the go command to say: lines that are not understood are passed over.

use std::collections::BTreeSet;

/// The facts of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModFile {
    /// Path of the module; empty in `go.work`.
    pub(crate) module: String,
    /// Of the `go` line, such as `1.22` or `1.22.3`; empty without one.
    pub(crate) go: String,
    /// Of the `toolchain` line, without `go` before it; empty without one.
    pub(crate) toolchain: String,
    /// Modules that are required.
    pub(crate) require: Vec<String>,
    /// Modules that a directory stands in for.
    pub(crate) replaced_by_directory: BTreeSet<String>,
    /// Those modules and directories, as written.
    pub(crate) replacements: Vec<(String, String)>,
    /// Directories of the workspace, as written.
    pub(crate) directories: Vec<String>,
}

impl ModFile {
    pub(crate) fn parse(text: &str) -> Self {
        let mut file = Self::default();
        let mut block = String::new();
        for line in text.lines() {
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[..] {
                [] => {}
                [")"] => block.clear(),
                [verb, "("] => block = verb.to_owned(),
                _ if !block.is_empty() => file.directive(&block, &words),
                [verb, ..] => file.directive(verb, &words[1..]),
            }
        }
        file
    }

    /// The directories within the project that stand in for modules, without `./`.
    pub(crate) fn local_directories(&self) -> Vec<String> {
        let inside = self.replacements.iter().filter_map(|(_, directory)| directory.strip_prefix("./"));
        inside.map(|directory| directory.trim_end_matches('/').to_owned()).collect()
    }

    fn directive(&mut self, verb: &str, arguments: &[&str]) {
        let Some(first) = arguments.first() else { return };
        match verb {
            "module" => self.module = (*first).to_owned(),
            "go" => self.go = (*first).to_owned(),
            "toolchain" => {
                // `default` means what is installed; a suffix names somebody's own build.
                let version = first.strip_prefix("go").unwrap_or_default();
                self.toolchain = version.split('-').next().unwrap_or_default().to_owned();
            }
            "require" => self.require.push((*first).to_owned()),
            "use" => self.directories.push((*first).to_owned()),
            "replace" => {
                let to = arguments.iter().position(|word| *word == "=>").and_then(|at| arguments.get(at + 1));
                if let Some(directory) = to.filter(|to| is_directory(to)) {
                    self.replaced_by_directory.insert((*first).to_owned());
                    self.replacements.push(((*first).to_owned(), (*directory).to_owned()));
                }
            }
            _ => {}
        }
    }
}

/// Whether what stands behind `=>` is a directory: then it is written so that no path of a module looks like it.
fn is_directory(to: &str) -> bool {
    matches!(to, "." | "..") || ["./", "../", "/"].iter().any(|start| to.starts_with(start))
}

/// The words of a line: quotes group, `//` begins a comment, brackets are words of their own.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("//") {
            break;
        }
        let length = match first {
            '(' | ')' => 1,
            '"' | '`' => rest[1..].find(first).map_or(rest.len(), |end| end + 2),
            _ => rest.find(|c: char| c.is_whitespace() || c == '(' || c == ')').unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        let word = match first {
            '"' | '`' => word.trim_matches(first),
            _ => word,
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_read_with_its_blocks_and_comments() {
        let file = ModFile::parse(
            "// what it is\nmodule \"example.com/x\" // here\n\ngo 1.22.1\ntoolchain go1.22.5-custom\n\
             require example.com/a v1.0.0\nrequire (\n\texample.com/b v1.2.3 // indirect\n\texample.com/c v0.0.0\n)\n\
             replace example.com/c => ../c\nreplace (\n example.com/d v1 => example.com/e v2\n)\nexclude example.com/a v0\n",
        );
        assert_eq!((file.module.as_str(), file.go.as_str()), ("example.com/x", "1.22.1"));
        assert_eq!(file.toolchain, "1.22.5");
        assert_eq!(file.require, ["example.com/a", "example.com/b", "example.com/c"]);
        assert_eq!(file.replaced_by_directory.iter().collect::<Vec<_>>(), ["example.com/c"]);
    }

    #[test]
    fn a_workspace_is_read() {
        let file = ModFile::parse("go 1.21\n\nuse ./a\nuse(\n ./b\n \"./c d\"\n)\ntoolchain default\n");
        assert_eq!(file.directories, ["./a", "./b", "./c d"]);
        assert_eq!((file.go.as_str(), file.toolchain.as_str()), ("1.21", ""));
    }

    #[test]
    fn nothing_makes_it_stumble() {
        for text in ["", "(", ")", "module", "\"", "require (", "replace a =>", "module `x", "go go go\n)\n("]
        {
            ModFile::parse(text);
        }
    }
}
