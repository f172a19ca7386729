//! A cgroup for all steps of one build, below one that the person names: its limits are theirs, and its accounts.
//!
//! Both kinds of hierarchy are used, whichever are mounted. kiln makes no limits of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Why steps could not be put below a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("`{0}` is no name of a cgroup: write a path below the root of the hierarchies, or a slice")]
    Name(String),
    #[error("no cgroup hierarchy is mounted")]
    None,
    #[error("could not use `{}`", .path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Removed when dropped, by when its processes have to be gone.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// One for each hierarchy.
    directories: Vec<PathBuf>,
    /// Where kiln itself is, in the same order.
    own: Vec<PathBuf>,
}

/// A mounted hierarchy, as /proc/self/mountinfo has it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    point: PathBuf,
    /// Of the hierarchy, the part that is to be seen at `point`.
    root: String,
    /// Empty for the unified one.
    controllers: Vec<String>,
}

impl Cgroup {
    /// Makes a cgroup below `parent`, which is made too if it is not there.
    pub(crate) fn make(parent: &str) -> Result<Self, CgroupError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = path(parent).ok_or_else(|| CgroupError::Name(parent.to_owned()))?;
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| CgroupError::File { path: path.into(), source })
        };
        let hierarchies = hierarchies(&read("/proc/self/mountinfo")?);
        let membership = read("/proc/self/cgroup")?;
        if hierarchies.is_empty() {
            return Err(CgroupError::None);
        }
        let name = format!("kiln-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut made = Self { directories: Vec::new(), own: Vec::new() };
        for hierarchy in hierarchies {
            let Some(own) = own_place(&hierarchy, &membership) else { continue };
            let mut directory = hierarchy.point.clone();
            for part in path.iter().map(String::as_str).chain([name.as_str()]) {
                directory.push(part);
                make_one(&directory, &hierarchy)?;
            }
            made.directories.push(directory);
            made.own.push(own);
        }
        match made.directories.is_empty() {
            true => Err(CgroupError::None),
            false => Ok(made),
        }
    }

    /// Runs `start` while this process is in the cgroup, so that what it starts stays there.
    pub(crate) fn within<T>(&self, start: impl FnOnce() -> T) -> Result<T, CgroupError> {
        let entered = self.directories.iter().try_for_each(|directory| join(directory));
        let started = entered.map(|()| start());
        for own in &self.own {
            // Back, also from the hierarchies that were entered before another refused.
            join(own)?;
        }
        started
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in &self.directories {
            // The last process of a step may still be on its way out.
            for _ in 0..100 {
                match fs::remove_dir(directory) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    _ => break,
                }
            }
        }
    }
}

fn join(directory: &Path) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.procs");
    fs::write(&path, std::process::id().to_string()).map_err(|source| CgroupError::File { path, source })
}

fn make_one(directory: &Path, hierarchy: &Hierarchy) -> Result<(), CgroupError> {
    let failed = |path: &Path, source| CgroupError::File { path: path.to_owned(), source };
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(directory, error)),
        _ => {}
    }
    if hierarchy.controllers.iter().any(|name| name == "cpuset") {
        // Of this one a new cgroup has nothing to run on, and takes no process before it has.
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let file = directory.join(name);
            if fs::read_to_string(&file).is_ok_and(|text| text.trim().is_empty()) {
                let above = directory.parent().unwrap_or(directory).join(name);
                fs::read(&above)
                    .and_then(|text| fs::write(&file, text))
                    .map_err(|error| failed(&file, error))?;
            }
        }
    }
    Ok(())
}

/// The parts of `/a/b`, or of a slice: `a-b.slice` lies in `a.slice`.
fn path(parent: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| *part == "." || *part == "..") || parent.contains('\0') {
        return None;
    }
    match (&parts[..], parent.strip_suffix(".slice")) {
        ([slice], Some(stem)) if *slice == parent => {
            let ends = stem.match_indices('-').map(|(index, _)| index).chain([stem.len()]);
            Some(ends.filter(|end| *end > 0).map(|end| format!("{}.slice", &stem[..end])).collect())
        }
        _ => Some(parts.into_iter().map(str::to_owned).collect()),
    }
}

/// Each hierarchy once, where it is mounted first.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let mut seen = Vec::new();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((mount, device)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let mut device = device.split(' ');
        let (Some(kind), _, Some(options)) = (device.next(), device.next(), device.next()) else { continue };
        let &[_, _, number, root, point, ..] = &mount[..] else { continue };
        if !matches!(kind, "cgroup" | "cgroup2") || seen.contains(&number) {
            continue;
        }
        seen.push(number);
        let controllers = match kind {
            "cgroup2" => Vec::new(),
            _ => {
                options.split(',').filter(|name| *name != "rw" && *name != "ro").map(str::to_owned).collect()
            }
        };
        found.push(Hierarchy { point: point.into(), root: root.to_owned(), controllers });
    }
    found
}

/// The directory of the cgroup in which this process is, by /proc/self/cgroup.
fn own_place(hierarchy: &Hierarchy, membership: &str) -> Option<PathBuf> {
    let mine = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let here = match hierarchy.controllers.is_empty() {
            true => controllers.is_empty(),
            false => {
                !controllers.is_empty()
                    && controllers
                        .split(',')
                        .all(|name| hierarchy.controllers.iter().any(|known| known == name))
            }
        };
        here.then_some(path)
    })?;
    let below = mine.strip_prefix(hierarchy.root.trim_end_matches('/'))?;
    Some(hierarchy.point.join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_paths_or_slices() {
        let parts = |text| path(text).map(|parts| parts.join("/"));
        assert_eq!(parts("/a/b").as_deref(), Some("a/b"));
        assert_eq!(parts("a").as_deref(), Some("a"));
        assert_eq!(parts("build-ci.slice").as_deref(), Some("build.slice/build-ci.slice"));
        for wrong in ["", "/", "../x", "a/./b"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_hierarchy_is_found_once_with_the_place_in_it() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      31 24 0:27 /box /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      40 24 0:27 /box /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 24 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      33 24 0:29 / /proc rw - proc proc rw\n";
        let found = hierarchies(mounts);
        assert_eq!(found.len(), 3);
        let membership = "4:name=systemd:/init\n3:cpu,cpuacct:/box/me\n0::/user\n";
        let own: Vec<_> = found.iter().map(|one| own_place(one, membership).unwrap()).collect();
        assert_eq!(own[0], Path::new("/sys/fs/cgroup/unified/user"));
        assert_eq!(own[1], Path::new("/sys/fs/cgroup/cpu/me"));
        assert_eq!(own[2], Path::new("/sys/fs/cgroup/systemd/init"));
    }
}
