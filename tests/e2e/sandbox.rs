//! What a RUN step sees, what it may do, and what it leaves behind.

mod as_root {
    use std::fs;

    use crate::privileges::needs_root;
    use crate::process::{eventually, mounts_with, wait_for_line};
    use crate::readback;
    use crate::space::{TestSpace, shell};

    /// What `command` prints as a RUN step on busybox.
    #[track_caller]
    fn output(space: &TestSpace, command: &str, args: &[&str]) -> String {
        let ran = space.build_text(&format!("FROM busybox\nRUN {command}\n"), args).ok();
        ran.steps().log(command)
    }

    #[test]
    fn a_step_has_the_rights_of_a_container_and_no_more() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let status = output(&space, "cat /proc/self/status", &[]);
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim_matches([':', '\t', ' '])
                .to_owned()
        };
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(set), "00000000a80425fb", "{set}");
        }
        assert_eq!(field("CapAmb"), "0000000000000000");
        assert_eq!(field("Seccomp"), "2");
        assert_eq!(field("NoNewPrivs"), "0");
        assert_eq!(field("Umask"), "0022");
        let checks = [
            "! mount -t tmpfs tmpfs /mnt 2>/dev/null",
            "! unshare -U true 2>/dev/null",
            "! cat /proc/kcore 2>/dev/null | grep -q .",
            "! (echo 1 > /proc/sys/kernel/sysrq) 2>/dev/null",
            "! (echo b > /proc/sysrq-trigger) 2>/dev/null",
            "! (echo x > /sys/kernel/uevent_helper) 2>/dev/null",
            "set -- $(awk 'NR > 2 { print; exit }' /proc/partitions) && ! (mknod /disk b $1 $2 && head -c 1 /disk)",
            "set -- $(awk 'NR > 2 { print; exit }' /proc/partitions) && ! (mknod /dev/disk b $1 $2 && head -c 1 /dev/disk)",
            "test -z \"$(ls /proc/acpi 2>/dev/null)\"",
            "chown 1:1 /tmp && chmod 4755 /bin/busybox",
        ];
        for check in checks {
            space.build_text(&format!("FROM busybox\nRUN {check}\n"), &[]).ok();
        }
    }

    #[test]
    fn steps_run_below_the_cgroup_that_is_named() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let name = format!("kiln-test-{}", std::process::id());
        space.dockerfile("FROM busybox\nRUN sleep 2\n");
        let parent = format!("/{name}/below");
        let args = ["build", "--progress", "plain", "--cgroup-parent", &parent, "context"];
        let mut child = space.command(&args).spawn().expect("kiln starts");
        let _reader = wait_for_line(&mut child, "RUN sleep 2");
        eventually("the helper and the step are in the cgroup", || {
            let inside =
                shell(&format!("cat /sys/fs/cgroup/*/{name}/below/kiln-*/cgroup.procs 2>/dev/null || true"));
            inside.lines().count() >= 2
        });
        let status = child.wait().expect("kiln can be waited for");
        let left = shell(&format!("find /sys/fs/cgroup -path '*/{name}/below/*' -type d"));
        shell(&format!("find /sys/fs/cgroup -depth -type d -path '*/{name}*' -exec rmdir {{}} +"));
        assert!(status.success());
        assert_eq!(left, "", "its own cgroups go with the build");
        let ran = space.build(&["--no-cache", "--cgroup-parent", "../x"]);
        ran.ends(3).says(&["../x", "cgroup"]);
    }

    #[test]
    fn nothing_of_the_host_leaks_in() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.environment.push(("LEAKED_SECRET".into(), "value".into()));
        let environment = output(&space, "env", &[]);
        assert!(!environment.contains("LEAKED"), "{environment}");
        assert!(
            environment.contains("PATH=/usr/local/sbin:") && environment.contains("HOME=/root"),
            "{environment}"
        );
        let processes = output(&space, "ls -d /proc/[0-9]* | wc -l", &[]);
        assert!(processes.trim().parse::<u32>().unwrap() < 6, "{processes} processes are visible");
        let descriptors = output(&space, "ls /proc/self/fd | wc -l", &[]);
        assert_eq!(descriptors.trim(), "4", "0, 1, 2 and the one of ls");
        assert_eq!(output(&space, "cat; echo end-of-input", &[]), "end-of-input");
        let mounts = output(&space, "cut -d' ' -f2 /proc/mounts", &[]);
        assert!(!mounts.contains("/home") && !mounts.contains("/old"), "{mounts}");
    }

    #[test]
    fn the_usual_devices_are_there() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let checks = "echo x > /dev/null && head -c 4 /dev/zero | wc -c | grep -q 4 && head -c 4 /dev/urandom > /dev/null \
                      && test -L /dev/fd && test -L /dev/stdout && test -d /dev/pts && test -w /dev/shm && test -c /dev/full \
                      && echo out > /dev/stdout && echo err > /dev/stderr";
        output(&space, checks, &[]);
    }

    #[test]
    fn name_resolution_is_given_and_not_left_behind() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN cat /etc/resolv.conf > /resolv && cat /etc/hosts > /hosts\n";
        space.build_text(text, &["-t", "it", "--add-host", "friend:192.0.2.7"]).ok();
        let image = readback::image(&space, "it");
        for path in ["/etc/resolv.conf", "/etc/hosts", "/proc/self", "/dev/null", "/sys/kernel"] {
            assert!(!image.tree.contains_key(path), "`{path}` was left in the image");
        }
        assert!(image.read("/hosts").contains("127.0.0.1") && image.read("/hosts").contains("192.0.2.7"));
        assert!(image.read("/resolv").contains("nameserver"));
    }

    #[test]
    fn what_the_kernels_file_systems_lie_on_stays_and_nothing_else_does() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM scratch\nCOPY --from=busybox /bin/busybox /sh\nRUN [\"/sh\", \"-c\", \":\"]\n";
        space.build_text(text, &["-t", "it"]).ok();
        assert_eq!(
            readback::image(&space, "it").tree.into_keys().collect::<Vec<_>>(),
            ["/dev", "/proc", "/sh", "/sys"]
        );
    }

    #[test]
    fn the_network_of_the_host_for_all_steps_is_also_one_for_a_step_that_asks() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN --network=host true\n";
        space.build_text(text, &[]).ends(1).says(&["network.host"]);
        space.build_text(text, &["--network", "host"]).ok();
    }

    #[test]
    fn an_image_keeps_its_own_name_resolution_files() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("hosts", "of the image\n");
        space
            .build_text("FROM busybox\nCOPY hosts /etc/hosts\nRUN ! grep image /etc/hosts\n", &["-t", "it"])
            .ok();
        assert_eq!(readback::image(&space, "it").read("/etc/hosts"), "of the image\n");
    }

    #[test]
    fn without_network_there_is_only_loopback_and_with_the_hosts_there_is_all() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        assert_eq!(output(&space, "ls /sys/class/net", &["--network", "none"]), "lo");
        let all: Vec<String> = shell("ls /sys/class/net").lines().map(str::to_owned).collect();
        let seen = output(&space, "ls -1 /sys/class/net", &["--network", "host", "--allow", "network.host"]);
        assert_eq!(seen.lines().collect::<Vec<_>>(), all);
        // The same step as the first one, so it would be found.
        let text = "FROM busybox\nRUN --network=none ls /sys/class/net\n";
        let ran = space.build_text(text, &["--no-cache"]).ok();
        assert_eq!(ran.steps().log("ls /sys"), "lo");
    }

    #[test]
    fn a_failing_step_is_shown_with_its_place_its_log_and_its_status() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let ran = space
            .build_text("FROM busybox\nRUN echo before\nRUN echo the-reason >&2; exit 7\n", &["-t", "it"])
            .ends(1);
        let ran = ran.says(&["Dockerfile:3", "exit 7", "7"]);
        let last = ran.stderr.rfind("ERROR").expect("the step is marked as failed");
        assert!(ran.stderr[last..].contains("the-reason"), "the log is repeated at the end\n{ran}");
        space.kiln(&["image", "inspect", "it"]).ends(1);
    }

    #[test]
    fn a_program_that_is_not_there_and_one_killed_by_a_signal_are_told_apart() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space
            .build_text("FROM busybox\nRUN [\"/no/such/program\"]\n", &[])
            .ends(1)
            .says(&["/no/such/program", "Dockerfile:2"]);
        space
            .build_text("FROM busybox\nRUN sh -c 'kill -SEGV $$'; exit $?\n", &[])
            .ends(1)
            .says(&["Dockerfile:2", "139"]);
    }

    #[test]
    fn users_are_those_of_the_image() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nUSER www-data\nRUN id -u; id -g; echo $HOME\n";
        assert_eq!(space.build_text(text, &[]).ok().steps().log("RUN id"), "33\n33\n/var/www");
        let text = "FROM busybox\nUSER 1234:5678\nRUN id -u; id -g\n";
        assert_eq!(space.build_text(text, &[]).ok().steps().log("RUN id"), "1234\n5678");
        space
            .build_text("FROM busybox\nUSER nobodyknows\nRUN id\n", &[])
            .ends(1)
            .says(&["nobodyknows", "Dockerfile:3"]);
    }

    #[test]
    fn a_secret_reaches_the_step_and_nothing_else() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        fs::write(space.path("secret"), "hunter2").unwrap();
        space.environment.push(("TOKEN".into(), "hunter3".into()));
        let text = "FROM busybox\nRUN --mount=type=secret,id=s test \"$(rev < /run/secrets/s)\" = 2retnuh\n\
                    RUN --mount=type=secret,id=TOKEN,env=T test \"$(echo $T | rev)\" = 3retnuh\n\
                    RUN test ! -e /run/secrets/s\n";
        let args = ["--secret", "id=s,src=secret", "--secret", "id=TOKEN", "-t", "it"];
        let ran = space.build_text(text, &args).ok();
        assert!(!ran.stderr.contains("hunter"), "{ran}");
        let image = readback::image(&space, "it");
        assert!(!image.tree.contains_key("/run/secrets"), "{:?}", image.files());
        assert!(!image.config.to_string().contains("hunter"));
        let found = shell(&format!("grep -rl 'hunter[23]' '{}' || true", space.store.display()));
        assert_eq!(found, "", "secrets are in the store");
        // Another value is no reason to run again.
        fs::write(space.path("secret"), "hunter4").unwrap();
        space.build(&args).ok().steps().cached("id=s test");
        let text = "FROM busybox\nRUN --mount=type=secret,id=absent,required=true true\n";
        space.build_text(text, &[]).ends(1).says(&["absent", "Dockerfile:2"]);
    }

    #[test]
    fn mounts_of_every_type_come_and_go() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("from-context", "context");
        let text = "FROM busybox AS other\nRUN echo stage > /from-stage\n\
                    FROM busybox\nARG N=1\n\
                    RUN --mount=target=/ctx grep context /ctx/from-context && ! (echo x > /ctx/new)\n\
                    RUN --mount=from=other,source=/from-stage,target=/one/file grep stage /one/file\n\
                    RUN --mount=type=bind,target=/ctx,rw echo x > /ctx/written\n\
                    RUN --mount=type=cache,target=/cache echo $N >> /cache/log; cat /cache/log\n\
                    RUN --mount=type=tmpfs,target=/t echo x > /t/x && grep ' /t tmpfs' /proc/mounts\n";
        space.build_text(text, &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        for path in ["/ctx", "/one", "/cache", "/t"] {
            assert!(!image.tree.contains_key(path), "`{path}` was left in the image");
        }
        assert!(!space.context().join("written").exists(), "a step wrote into the context");
        let ran = space.build(&["--build-arg", "N=2"]).ok();
        assert_eq!(ran.steps().log("/cache/log"), "1\n2");
    }

    #[test]
    fn no_mount_outlives_a_build() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.build_text("FROM busybox\nRUN echo x > /x\nRUN echo y > /y\n", &["-t", "it"]).ok();
        space.kiln(&["run", "it", "true"]).ok();
        assert_eq!(mounts_with(space.store.to_str().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn sixty_layers_are_no_limit() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let mut text = "FROM busybox\n".to_owned();
        for n in 0..70 {
            text.push_str(&format!("RUN echo {n} > /{n}\n"));
        }
        space.build_text(&(text + "RUN ls / | grep -c '^[0-9]'\n"), &["-t", "it"]).ok();
        assert_eq!(space.kiln(&["run", "it", "cat", "/0", "/69"]).ok().text(), "0\n69\n");
    }
}
