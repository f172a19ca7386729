//! What a process is given, and what is told of its end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kiln_sandbox::{Exit, Resource, SandboxError, Security, Step, Ulimit, User};

use crate::space::{Space, chain, names};

crate::tests![
    a_program_runs_and_its_exit_code_is_told,
    the_signal_that_ended_a_program_is_told,
    output_is_captured_by_stream_and_input_is_empty,
    much_output_arrives_whole,
    environment_is_what_is_given_and_nothing_else,
    a_missing_working_directory_is_made_and_owned_by_the_user,
    user_and_groups_are_taken_on,
    limits_are_set_and_do_not_depend_on_kilns,
    host_name_umask_and_session_are_its_own,
    no_descriptor_of_kiln_is_inherited,
    a_program_that_is_not_there_is_told_with_the_searched_path,
    a_script_without_its_interpreter_is_told_apart,
    a_foreign_executable_is_explained,
    a_directory_cannot_be_executed,
    what_cannot_be_mounted_is_named,
    steps_run_at_the_same_time,
    the_root_can_be_read_only_even_with_a_single_layer,
    five_hundred_layers_can_be_mounted,
];

fn a_program_runs_and_its_exit_code_is_told() {
    let space = Space::new();
    assert_eq!(space.run(&space.spec(&["true"])).unwrap().exit, Exit::Code(0));
    assert_eq!(space.run(&space.spec(&["false"])).unwrap().exit, Exit::Code(1));
    assert_eq!(space.run(&space.sh("exit 42")).unwrap().exit, Exit::Code(42));
}

fn the_signal_that_ended_a_program_is_told() {
    let space = Space::new();
    // The first process of a namespace has to be killed from outside of what it ignores: by a bug of its own.
    let spec = space.sh("sh -c 'kill -SEGV $$'; exit $?");
    assert_eq!(space.run(&spec).unwrap().exit, Exit::Code(139));
    let mut spec = space.sh("while :; do :; done");
    spec.ulimits = vec![Ulimit { resource: Resource::Cpu, soft: Some(1), hard: Some(1) }];
    assert_eq!(space.run(&spec).unwrap().exit, Exit::Signal(9));
}

fn output_is_captured_by_stream_and_input_is_empty() {
    let space = Space::new();
    let ran = space.run(&space.sh("echo out; echo err >&2; cat; echo $(readlink /proc/self/fd/0)")).unwrap();
    assert_eq!((&*ran.stdout, &*ran.stderr), ("out\n/dev/null\n", "err\n"));
}

fn much_output_arrives_whole() {
    let space = Space::new();
    let ran = space.run(&space.sh("dd if=/dev/zero bs=1M count=8 2>/dev/null; echo end"));
    let stdout = ran.unwrap().stdout;
    assert_eq!(stdout.len(), (8 << 20) + 4);
    assert!(stdout.ends_with("\0end\n"));
}

fn environment_is_what_is_given_and_nothing_else() {
    let space = Space::new();
    let mut spec = space.spec(&["env"]);
    spec.env.push(("A".into(), "x y".into()));
    assert_eq!(space.output(&spec), "PATH=/bin\nA=x y");
}

fn a_missing_working_directory_is_made_and_owned_by_the_user() {
    let space = Space::new();
    let mut spec = space.spec(&["pwd"]);
    spec.cwd = "/a/b".into();
    spec.user = User { uid: 3, gid: 4, groups: vec![] };
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "/a/b\n");
    let mut inside = space.sh("stat -c '%u %g %a' /a /a/b");
    inside.root.lowers.push(ran.upper);
    assert_eq!(space.output(&inside), "3 4 755\n3 4 755");
}

fn user_and_groups_are_taken_on() {
    let space = Space::new();
    let mut spec = space.sh("id -u; id -g; grep Groups /proc/self/status; touch /tmp/x");
    fs::set_permissions(space.path("base/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    spec.user = User { uid: 1000, gid: 1001, groups: vec![7, 8] };
    let ran = space.run(&spec).unwrap();
    assert_eq!(ran.stdout, "1000\n1001\nGroups:\t7 8 \n", "{ran:?}");
    assert!(fs::metadata(ran.upper.join("tmp/x")).unwrap().uid() != 0);
}

fn limits_are_set_and_do_not_depend_on_kilns() {
    let space = Space::new();
    let mut spec = space.sh("ulimit -c; ulimit -n; ulimit -s; ulimit -Hn");
    assert!(space.output(&spec).starts_with("0\n1024\n8192\n"), "{}", space.output(&space.sh("ulimit -a")));
    spec.root = space.spec(&["true"]).root;
    spec.ulimits = vec![Ulimit { resource: Resource::Nofile, soft: Some(77), hard: Some(99) }];
    assert_eq!(space.output(&spec), "0\n77\n8192\n99");
}

fn host_name_umask_and_session_are_its_own() {
    let space = Space::new();
    let mut spec = space.sh("hostname; umask; echo $$; cat /proc/self/stat");
    spec.hostname = "kiln-step".to_owned();
    let output = space.output(&spec);
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("kiln-step"));
    assert_eq!(lines.next(), Some("0022"));
    assert_eq!(lines.next(), Some("1"));
    // After the name in parentheses: state, parent, group, session, terminal.
    let (_, stat) = lines.next().unwrap().rsplit_once(") ").unwrap();
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!(&fields[2..5], ["1", "1", "0"], "{stat}");
}

fn no_descriptor_of_kiln_is_inherited() {
    let space = Space::new();
    let _open = fs::File::open("/").unwrap();
    assert_eq!(space.output(&space.spec(&["ls", "/proc/self/fd"])), "0\n1\n2\n3");
}

fn a_program_that_is_not_there_is_told_with_the_searched_path() {
    let space = Space::new();
    let error = space.run(&space.spec(&["bash"])).unwrap_err();
    assert_eq!(error.to_string(), "`bash` was not found in the root file system (PATH is `/bin`)");
    let error = space.run(&space.spec(&["/usr/bin/bash", "-c"])).unwrap_err();
    assert!(matches!(error, SandboxError::ProgramNotFound { path: None, .. }));
}

fn a_script_without_its_interpreter_is_told_apart() {
    let space = Space::new();
    let script = space.path("base/bin/script");
    fs::write(&script, "#!/bin/bash\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = space.run(&space.spec(&["script"])).unwrap_err();
    assert!(error.to_string().contains("loader `/bin/bash` does not"), "{error}");
}

fn a_foreign_executable_is_explained() {
    let space = Space::new();
    let program = space.path("base/bin/foreign");
    let mut bytes = fs::read(space.path("base/bin/busybox")).unwrap();
    bytes[18] = 22;
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = space.run(&space.spec(&["foreign"])).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("exec format error: `/bin/foreign` is built for s390x"), "{message}");
}

fn a_directory_cannot_be_executed() {
    let space = Space::new();
    let error = space.run(&space.spec(&["/tmp"])).unwrap_err();
    assert!(matches!(error, SandboxError::NotExecutable { .. }), "{error:?}");
}

fn what_cannot_be_mounted_is_named() {
    let space = Space::new();
    let mut spec = space.spec(&["true"]);
    spec.root.lowers.push(space.path("nowhere"));
    match space.run(&spec).unwrap_err() {
        SandboxError::Setup { step: Step::Root, source, .. } => {
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound)
        }
        other => panic!("{other:?}"),
    }
    let mut spec = space.spec(&["true"]);
    fs::remove_dir(space.path("base/sys")).unwrap();
    spec.security = Security::Default;
    let error = space.run_as_is(&spec, &kiln_core::Cancel::new(None)).unwrap_err();
    assert!(
        chain(&error)
            .starts_with("finding the mount point `/sys` failed; the root file system has nothing there"),
        "{}",
        chain(&error)
    );
}

fn steps_run_at_the_same_time() {
    let space = Space::new();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let space = &space;
            scope.spawn(move || {
                let spec = space.sh(&format!("sleep 0.3; echo {number}"));
                assert_eq!(space.output(&spec), number.to_string());
            });
        }
    });
    assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
}

fn the_root_can_be_read_only_even_with_a_single_layer() {
    let space = Space::new();
    for single in [true, false] {
        let mut spec = space.sh("cat /etc/passwd >/dev/null && ! touch /new 2>/dev/null");
        spec.root.upper = None;
        spec.root.work = None;
        if single {
            spec.root.lowers.truncate(1);
        }
        space.output(&spec);
    }
    assert!(!names(&space.path("base")).contains(&"new".to_owned()));
}

fn five_hundred_layers_can_be_mounted() {
    let space = Space::new();
    let mut spec = space.sh("cat /n; ls /layers | wc -l");
    // With base and stub.
    for number in 0..498 {
        let layer = space.path(&format!("layer{number}"));
        fs::create_dir_all(layer.join("layers")).unwrap();
        fs::write(layer.join("n"), number.to_string()).unwrap();
        fs::write(layer.join(format!("layers/{number}")), "").unwrap();
        spec.root.lowers.push(layer);
    }
    assert_eq!(space.output(&spec), "497498");
}
