//! Goes over everything below a directory of a merged view in order, looking at each entry of each layer once.

use std::borrow::Cow;

use super::{Found, Merged, Merger, Part, Spot, below};
use crate::tree::TreePath;

/// Whether what a directory holds is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    Enter,
    Skip,
    Stop,
}

/// An iterator over full paths and what shows there. A directory comes before what it holds.
#[derive(Debug)]
pub struct Walk<'a> {
    merged: &'a Merged,
    open: Vec<Directory>,
    /// The directory that was returned last, before it is entered.
    next: Option<Directory>,
}

#[derive(Debug)]
struct Directory {
    /// What is left of it in each layer, topmost first.
    parts: Vec<Part>,
    /// Where in a full path the names of its children begin.
    prefix: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn below(merged: &'a Merged, spot: Option<&Spot<'a>>) -> Self {
        Self {
            merged,
            open: Vec::new(),
            next: spot.map(|spot| Directory { parts: spot.parts.clone(), prefix: spot.prefix }),
        }
    }

    /// What the directory that was returned last holds is passed over.
    pub fn skip_below(&mut self) {
        self.next = None;
    }

    fn name_at(&self, part: &Part, prefix: usize) -> &'a [u8] {
        let merged: &'a Merged = self.merged;
        let tail = &merged.entries(part.layer)[part.entries.start].0.as_bytes()[prefix..];
        let end = tail.iter().position(|b| *b == b'/').unwrap_or(tail.len());
        &tail[..end]
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Cow<'a, TreePath>, Found<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(directory) = self.next.take() {
            self.open.push(directory);
        }
        loop {
            let prefix = self.open.last()?.prefix;
            let parts = &self.open.last()?.parts;
            let names = parts.iter().filter(|part| !part.entries.is_empty());
            let Some(name) = names.map(|part| self.name_at(part, prefix)).min() else {
                self.open.pop();
                continue;
            };
            let merged: &'a Merged = self.merged;
            let mut merger = Merger::new(merged);
            let mut path: Option<Cow<'a, TreePath>> = None;
            let directory = self.open.last_mut()?;
            for part in &mut directory.parts {
                let entries = &merged.entries(part.layer)[..part.entries.end];
                let Some((first, _)) = entries.get(part.entries.start) else {
                    continue;
                };
                let tail = &first.as_bytes()[prefix..];
                let exact = tail == name;
                let inside = tail.get(name.len()) == Some(&b'/') && tail.starts_with(name);
                if !exact && !inside {
                    continue;
                }
                match path {
                    _ if exact => path = Some(Cow::Borrowed(first)),
                    None => {
                        path = Some(Cow::Owned(TreePath::clean(&first.as_bytes()[..prefix + name.len()])))
                    }
                    Some(_) => {}
                }
                let at = part.entries.start;
                let below = below(entries, at + usize::from(exact), prefix, name);
                part.entries.start = below.end;
                merger.add(part.layer, exact.then_some(at), below);
            }
            if let (Some(spot), Some(path)) = (merger.finish(prefix + name.len() + 1), path) {
                self.next =
                    spot.is_directory().then_some(Directory { parts: spot.parts, prefix: spot.prefix });
                return Some((path, spot.found));
            }
        }
    }
}
