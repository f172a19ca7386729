//! Short texts: words with variables, ignore files, names.

use std::cell::Cell;

use kiln_core::tree::TreePath;
use kiln_core::{ImageRef, Platform};
use kiln_dockerfile::expand::{self, Mode, Variables};
use kiln_dockerfile::ignore::IgnoreFile;
use kiln_dockerfile::reference::Reference;
use kiln_dockerfile::{json, platform};

/// Longer inputs tell nothing that shorter ones do not.
const MAX_BYTES: usize = 1 << 12;

/// The lines of a text by number, and what may be made out of them.
struct Lines<'t> {
    values: Vec<&'t str>,
    left: Cell<usize>,
}

impl Variables for Lines<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        name.parse::<usize>().ok().and_then(|number| self.values.get(number).copied())
    }

    fn is_declared(&self, name: &str) -> bool {
        name.starts_with('d')
    }

    fn spend(&self, bytes: usize) -> bool {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }
}

/// A text grows only by what variables may spend, and is the same each time.
pub fn expand(text: &str) {
    const GROWTH: usize = 1 << 20;
    if text.len() > MAX_BYTES {
        return;
    }
    let values: Vec<&str> = text.split('\n').collect();
    for mode in [Mode::arguments('\\'), Mode::arguments('`'), Mode::HEREDOC] {
        let lines = || Lines { values: values.clone(), left: Cell::new(GROWTH) };
        let once = expand::word(values[0], mode, &lines());
        if let Ok(once) = &once {
            assert!(once.text.len() <= values[0].len() + GROWTH);
        }
        assert_eq!(once, expand::word(values[0], mode, &lines()));
        if let Ok((words, _)) = expand::words(values[0], mode, &lines()) {
            assert!(words.iter().all(|word| !word.is_empty()));
        }
    }
    if let json::Array::Strings(elements) = json::read(text) {
        assert!(elements.iter().all(|element| text[element.range.clone()].starts_with('"')));
    }
}

/// Without `!`, the frontend's check and the engine's walk say the same of a path.
pub fn ignore(text: &str) {
    if text.len() > MAX_BYTES {
        return;
    }
    let Some((list, path)) = text.rsplit_once('\n') else { return };
    let seen = IgnoreFile::read("x", list);
    let kept = kiln_core::ignore::Ignore::parse(list.as_bytes());
    let Ok(path) = TreePath::parse(path) else { return };
    let Ok(kept) = kept else { return };
    let excluded = kept.excludes(&path);
    if let Ok(seen) = seen
        && !seen.patterns.iter().any(|pattern| pattern.starts_with('!'))
        && let Ok(written) = std::str::from_utf8(path.as_bytes())
        && !written.is_empty()
    {
        assert_eq!(seen.hides(written), excluded, "{:?} {written:?}", seen.patterns);
    }
}

/// What was read and is written out is read again as the same.
pub fn names(text: &str) {
    if text.len() > MAX_BYTES {
        return;
    }
    if let Ok(reference) = Reference::read(text) {
        assert_eq!(Reference::read(&reference.to_string()).as_ref(), Ok(&reference));
    }
    if let Ok(reference) = ImageRef::parse(text) {
        assert_eq!(ImageRef::parse(&reference.to_string()), Ok(reference));
    }
    let default = kiln_sdk::wit::types::Platform::default();
    if let Some(read) = platform::read(text, &default) {
        let again = platform::read(&platform::format(&read), &default).expect("it was written by us");
        assert_eq!((again.os, again.arch, again.variant), (read.os, read.arch, read.variant));
    }
    if let Ok(platform) = Platform::parse(text) {
        assert_eq!(Platform::parse(&platform.to_string()).map(|again| again.to_string()), Ok(platform.to_string()));
    }
    let _ = kiln_core::mode::ModeChange::parse(text);
}
