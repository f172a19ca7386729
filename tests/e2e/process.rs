//! What a command of kiln leaves behind: processes and mounts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};
use std::time::{Duration, Instant};

use crate::space::shell;

/// Waits until a line of `stderr` holds `text`; returns the reader, which must live on or kiln's next line fails.
#[track_caller]
pub(crate) fn wait_for_line(child: &mut Child, text: &str) -> BufReader<ChildStderr> {
    let mut reader = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
    let mut all = String::new();
    while !all.lines().last().is_some_and(|line| line.contains(text)) {
        let read = reader.read_line(&mut all).expect("standard error is read");
        assert_ne!(read, 0, "kiln ended without a line that holds `{text}`:\n{all}");
    }
    reader
}

/// Ids of the processes whose command line holds `marker`.
pub(crate) fn processes_with(marker: &str) -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we look.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if id != own && String::from_utf8_lossy(&command).contains(marker) {
            found.push(id);
        }
    }
    found
}

/// Mount points that lie below, or come from, a path that holds `marker`, in the name space of this process.
pub(crate) fn mounts_with(marker: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().filter(|line| line.contains(marker)).map(str::to_owned).collect()
}

/// Fails unless `gone` becomes true within some seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut gone: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !gone() {
        assert!(begun.elapsed() < Duration::from_secs(10), "still not so after 10 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn signal(child: &Child, signal: &str) {
    shell(&format!("kill -{signal} {}", child.id()));
}
