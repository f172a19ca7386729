//! What is mounted over the root, and what is left of it afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use kiln_core::Cancel;
use kiln_sandbox::{MountKind, SandboxError, Step};

use crate::space::{Space, mount, names};

crate::tests![
    hosts_and_resolv_conf_are_given_and_leave_no_trace,
    binds_show_the_host_and_can_be_read_only,
    a_writable_view_keeps_its_changes_aside,
    a_secret_is_in_memory_and_has_its_owner,
    tmpfs_has_its_size_and_mode,
    mounts_nest_whatever_their_order,
    a_socket_can_be_bound,
    links_in_mount_points_stay_inside_the_root,
    links_in_place_of_proc_are_refused,
    a_link_is_not_bound,
    a_magic_link_as_mount_point_is_refused,
    the_working_directory_does_not_leave_the_root,
    a_mount_point_that_is_missing_is_not_made_in_the_layer,
    the_size_of_shared_memory_is_limited,
    deletions_are_recorded_in_the_upper,
];

fn hosts_and_resolv_conf_are_given_and_leave_no_trace() {
    let space = Space::new();
    let spec = space
        .sh("cat /etc/hosts /etc/resolv.conf; sh -c 'echo x >/etc/hosts' 2>/dev/null || echo read-only; \
         rm /etc/hosts 2>/dev/null || echo busy");
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "127.0.0.1 localhost\nnameserver 192.0.2.1\nread-only\nbusy\n");
    assert_eq!(names(&ran.upper), [""; 0]);
}

fn binds_show_the_host_and_can_be_read_only() {
    let space = Space::new();
    let source = space.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let bind = |target: &str, source: std::path::PathBuf, readonly| {
        mount(target, MountKind::Bind { source, readonly })
    };
    let mut spec = space
        .sh("cat /ro/file /one; touch /ro/x 2>/dev/null || echo read-only; echo new >/rw/new; \
         rm /one 2>/dev/null || echo busy");
    spec.mounts = vec![
        bind("/ro", source.clone(), true),
        bind("/rw", source.clone(), false),
        bind("/one", source.join("file"), true),
    ];
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "contentcontentread-only\nbusy\n", "{ran:?}");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "new\n");
    assert_eq!(names(&ran.upper), [""; 0]);
}

fn a_writable_view_keeps_its_changes_aside() {
    let space = Space::new();
    for directory in ["lower", "changes", "scratch"] {
        fs::create_dir(space.path(directory)).unwrap();
    }
    fs::write(space.path("lower/old"), "old").unwrap();
    let mut spec = space.sh("cat /view/old; echo new >/view/new; rm /view/old");
    spec.mounts = vec![mount(
        "/view",
        MountKind::Overlay {
            lowers: vec![space.path("lower")],
            upper: space.path("changes"),
            work: space.path("scratch"),
        },
    )];
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "old");
    assert_eq!(names(&space.path("changes")), ["new", "old"]);
    assert_eq!(names(&space.path("lower")), ["old"]);
    assert_eq!(names(&ran.upper), [""; 0]);
}

fn a_secret_is_in_memory_and_has_its_owner() {
    let space = Space::new();
    let mut spec = space.sh("cat /run/secrets/token; stat -c '%u %g %a' /run/secrets/token; \
         grep /run/secrets/token /proc/self/mountinfo; sh -c 'echo x >>/run/secrets/token' 2>&1");
    spec.mounts = vec![mount(
        "/run/secrets/token",
        MountKind::File { content: b"hunter2\n".to_vec(), mode: 0o440, uid: 5, gid: 6 },
    )];
    let ran = space.run(&spec).unwrap();
    assert!(ran.stdout.starts_with("hunter2\n5 6 440\n"), "{ran:?}");
    assert!(ran.stdout.contains(" - tmpfs "), "{ran:?}");
    assert!(ran.stdout.contains("Read-only file system"), "{ran:?}");
    assert_eq!(names(&ran.upper), [""; 0]);
    let stub = spec.root.lowers.last().unwrap();
    assert_eq!(fs::read(stub.join("run/secrets/token")).unwrap(), b"");
}

fn tmpfs_has_its_size_and_mode() {
    let space = Space::new();
    let mut spec = space.sh("stat -c %a /t; dd if=/dev/zero of=/t/x bs=1M count=3 2>/dev/null || echo full");
    spec.mounts = vec![mount("/t", MountKind::Tmpfs { size: 2 << 20, mode: 0o1770 })];
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "1770\nfull\n");
    assert_eq!(names(&ran.upper), [""; 0]);
}

fn mounts_nest_whatever_their_order() {
    let space = Space::new();
    fs::create_dir_all(space.path("cache")).unwrap();
    fs::write(space.path("one"), "one").unwrap();
    let mut spec = space.sh("cat /c/deep/er/one; test -d /c/t && echo both");
    spec.mounts = vec![
        mount("/c/deep/er/one", MountKind::Bind { source: space.path("one"), readonly: true }),
        mount("/c/t", MountKind::Tmpfs { size: 0, mode: 0o755 }),
        mount("/c", MountKind::Bind { source: space.path("cache"), readonly: false }),
    ];
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "oneboth\n", "{ran:?}");
    assert_eq!(names(&ran.upper), [""; 0]);
}

fn a_socket_can_be_bound() {
    let space = Space::new();
    let path = space.path("agent");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut spec = space.sh("test -S /run/agent.0 && echo socket");
    spec.mounts = vec![mount("/run/agent.0", MountKind::Bind { source: path, readonly: true })];
    assert_eq!(space.output(&spec), "socket");
}

fn links_in_mount_points_stay_inside_the_root() {
    let space = Space::new();
    let base = space.path("base");
    // Seen from the host these lead to its `/etc`; seen from the root, to the one there.
    symlink("/etc", base.join("absolute")).unwrap();
    symlink("../../../../../../../../etc", base.join("relative")).unwrap();
    let name = format!("kiln-{}", std::process::id());
    fs::create_dir_all(base.join(format!("etc/{name}/a"))).unwrap();
    fs::create_dir(base.join(format!("etc/{name}/b"))).unwrap();
    let mut spec = space.spec(&["cat", "/proc/self/mountinfo"]);
    let tmpfs = || MountKind::Tmpfs { size: 0, mode: 0o755 };
    spec.mounts =
        vec![mount(&format!("/absolute/{name}/a"), tmpfs()), mount(&format!("/relative/{name}/b"), tmpfs())];
    // The stub of the other tests follows links as the host does, which a real one must not.
    let ran = space.run_as_is(&spec, &Cancel::new(None)).unwrap();
    let mountinfo = ran.stdout;
    for directory in ["a", "b"] {
        let target = format!(" /etc/{name}/{directory} ");
        assert!(mountinfo.contains(&target), "{mountinfo}");
    }
}

fn links_in_place_of_proc_are_refused() {
    let space = Space::new();
    fs::remove_dir(space.path("base/proc")).unwrap();
    symlink("/tmp", space.path("base/proc")).unwrap();
    match space.run(&space.spec(&["true"])) {
        Err(SandboxError::Setup { step, path, .. }) => {
            assert_eq!((step, path), (Step::MountPoint, Some("/proc".into())));
        }
        other => panic!("{other:?}"),
    }
}

fn a_link_is_not_bound() {
    let space = Space::new();
    symlink("/etc", space.path("link")).unwrap();
    let mut spec = space.spec(&["true"]);
    spec.mounts = vec![mount("/mnt", MountKind::Bind { source: space.path("link"), readonly: true })];
    let error = space.run(&spec).unwrap_err();
    assert!(error.to_string().contains("it is a symbolic link"), "{error}");
}

fn a_magic_link_as_mount_point_is_refused() {
    let space = Space::new();
    symlink("/proc/self/root", space.path("base/magic")).unwrap();
    let mut spec = space.spec(&["true"]);
    spec.mounts = vec![mount("/magic/tmp", MountKind::Tmpfs { size: 0, mode: 0o755 })];
    match space.run(&spec) {
        Err(SandboxError::Setup { step, source, .. }) => {
            assert_eq!(step, Step::MountPoint);
            assert_eq!(source.raw_os_error(), Some(40), "ELOOP");
        }
        other => panic!("{other:?}"),
    }
}

fn the_working_directory_does_not_leave_the_root() {
    let space = Space::new();
    let outside = format!("/tmp/kiln-{}", std::process::id());
    symlink(&outside, space.path("base/work")).unwrap();
    let mut spec = space.spec(&["pwd"]);
    spec.cwd = "/work/deeper".into();
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, format!("{outside}/deeper\n"));
    assert!(!std::path::Path::new(&outside).exists());
    assert!(ran.upper.join(&outside[1..]).join("deeper").is_dir());
}

fn a_mount_point_that_is_missing_is_not_made_in_the_layer() {
    let space = Space::new();
    let mut spec = space.spec(&["true"]);
    spec.mounts = vec![mount("/missing", MountKind::Tmpfs { size: 0, mode: 0o755 })];
    let error = space.run_as_is(&spec, &Cancel::new(None)).unwrap_err();
    assert!(error.to_string().contains("`/missing`"), "{error}");
    assert_eq!(names(spec.root.upper.as_ref().unwrap()), [""; 0]);
}

fn the_size_of_shared_memory_is_limited() {
    let space = Space::new();
    let mut spec =
        space.sh("dd if=/dev/zero of=/dev/shm/x bs=1M count=3 2>/dev/null || echo full; stat -c %a /dev/shm");
    spec.shm_size = 2 << 20;
    assert_eq!(space.output(&spec), "full\n1777");
}

fn deletions_are_recorded_in_the_upper() {
    let space = Space::new();
    fs::create_dir(space.path("base/old")).unwrap();
    fs::write(space.path("base/old/file"), "").unwrap();
    let ran = space.run(&space.sh("rm /etc/passwd; rm -r /old; mkdir /old; mv /root /home")).unwrap();
    let upper = names(&ran.upper);
    assert_eq!(upper, ["etc", "etc/passwd", "home", "old", "root"], "{ran:?}");
}
