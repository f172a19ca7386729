//! Secrets and SSH keys: what reaches a step, and what must reach nothing else.

mod as_root {
    use std::fs;

    use crate::privileges::needs_root;
    use crate::process::{eventually, processes_with};
    use crate::space::{Ran, TestSpace, shell};

    const SECRET: &str = "correct-horse-battery";

    fn space() -> TestSpace {
        let space = TestSpace::with_bases(&["busybox"]);
        fs::write(space.path("secret"), format!("{SECRET}\n")).unwrap();
        space
    }

    fn build(space: &TestSpace, run: &str, args: &[&str]) -> Ran {
        let args = [&["--secret", "id=token,src=secret"], args].concat();
        space.build_text(&format!("FROM busybox\nRUN --mount=type=secret,id=token {run}\n"), &args)
    }

    /// Files below the store that hold the secret.
    fn kept(space: &TestSpace) -> String {
        shell(&format!("grep -rl {SECRET} {} || true", space.store.display()))
    }

    #[test]
    fn a_secret_reaches_the_step_and_nothing_else() {
        needs_root!();
        let space = space();
        let run = format!("[ \"$(cat /run/secrets/token)\" = {}-battery ] && touch /done", "correct-horse");
        // The test above would itself write the secret down.
        let run = run.replace("correct-horse-battery", "$(echo correct-horse)-$(echo battery)");
        let ran = build(&space, &run, &["--metadata-file", "metadata.json", "-t", "it"]).ok();
        assert!(!ran.stderr.contains(SECRET), "{ran}");
        assert!(!space.read("metadata.json").contains(SECRET));
        assert_eq!(kept(&space), "");
    }

    #[test]
    fn a_layer_with_a_secret_is_not_made() {
        needs_root!();
        let space = space();
        for (run, file) in [
            ("cat /run/secrets/token > /etc/copied", "/etc/copied"),
            (
                "mkdir -p /a/b && (head -c 300000 /dev/zero; printf %s $(cat /run/secrets/token)x) > /a/b/c",
                "/a/b/c",
            ),
            ("ln -s $(cat /run/secrets/token) /link", "/link"),
        ] {
            let ran = build(&space, run, &[]).ends(1);
            let ran = ran.says(&["secret-in-layer", "`token`", &format!("`{file}`"), "Dockerfile:2"]);
            assert!(!ran.stderr.contains(SECRET), "{ran}");
            assert_eq!(kept(&space), "");
            // Nothing of it is in the cache either.
            build(&space, run, &[]).ends(1).says(&["secret-in-layer"]);
        }
        build(&space, "cp /run/secrets/token /copied && rm /copied", &[]).ok();
        let text = "FROM busybox\nRUN --mount=type=secret,id=token,env=TOKEN echo x$TOKEN > /copied\n";
        space.build_text(text, &["--secret", "id=token,src=secret"]).ends(1).says(&["`/copied`"]);
    }

    #[test]
    fn a_step_without_the_secret_is_not_looked_through() {
        needs_root!();
        let space = space();
        fs::write(space.context().join("file"), SECRET).unwrap();
        let text = "FROM busybox\nCOPY file /\nRUN cp /file /again\n\
                    RUN --mount=type=secret,id=short cp /run/secrets/short /short\n";
        fs::write(space.path("short"), "1234567").unwrap();
        space.build_text(text, &["--secret", "id=token,src=secret", "--secret", "id=short,src=short"]).ok();
    }

    #[test]
    fn a_secret_is_masked_in_the_log_also_in_pieces() {
        needs_root!();
        let space = space();
        let run = "cat /run/secrets/token && printf correct-horse- && sleep 0.2 && echo battery && echo plain && false";
        for progress in ["plain", "rawjson"] {
            let ran = build(&space, run, &["--progress", progress]).ends(1);
            assert!(!ran.stderr.contains(SECRET), "{ran}");
            assert!(ran.stderr.contains("***") && ran.stderr.contains("plain"), "{ran}");
        }
        assert_eq!(kept(&space), "");
    }

    #[test]
    fn a_secret_that_would_be_written_down_fails_the_build() {
        needs_root!();
        let space = space();
        let argument = format!("TOKEN={SECRET}");
        let ran = build(&space, "true", &["--build-arg", &argument]).ends(1);
        assert!(ran.stderr.contains("`TOKEN`") && !ran.stderr.contains(SECRET), "{ran}");
        let text = format!("FROM scratch\nLABEL a=\"x {SECRET}\"\n");
        let ran = space.build_text(&text, &["--secret", "id=token,src=secret"]).ends(1);
        ran.says(&["secret-written-down", "configuration"]);
        assert_eq!(kept(&space), "");
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        needs_root!();
        let mut space = space();
        space.environment.push(("FROM_OUTSIDE".into(), "value of the variable".into()));
        for spec in [
            "id=s,env=FROM_OUTSIDE",
            "type=env,id=s,env=FROM_OUTSIDE",
            "id=FROM_OUTSIDE",
            "id=s,type=env,src=FROM_OUTSIDE",
        ] {
            let id = if spec.contains("id=s") { "s" } else { "FROM_OUTSIDE" };
            let text = format!(
                "FROM busybox\nRUN --mount=type=secret,id={id},required grep -q variable /run/secrets/{id}\n"
            );
            space.build_text(&text, &["--no-cache", "--secret", spec]).ok();
        }
        space.build_text("FROM scratch\n", &["--secret", "id=x,src=not-there"]).ends(2).says(&["not-there"]);
        for wrong in
            ["src=secret", "id=x,typ=file", "id=x,type=magic,src=secret", "id=x,src=secret,env=FROM_OUTSIDE"]
        {
            space.build_text("FROM scratch\n", &["--secret", wrong]).ends(2).says(&["--secret"]);
        }
        let text = "FROM busybox\nRUN --mount=type=secret,id=x,required true\n";
        space.build_text(text, &[]).ends(1).says(&["`x`", "--secret id=x", "Dockerfile:2"]);
    }

    /// A step that talks to the agent: asks for the keys, or to remove them all.
    const ASK: &str = "FROM busybox\nRUN --mount=type=ssh,required printf '\\000\\000\\000\\001\\013' | \
                       nc local:$SSH_AUTH_SOCK -w 1 > /keys; wc -c < /keys\n";

    fn key(space: &TestSpace, name: &str, passphrase: &str) {
        let path = space.path(name);
        shell(&format!(
            "ssh-keygen -q -t ed25519 -N '{passphrase}' -C comment-of-{name} -f {}",
            path.display()
        ));
    }

    #[test]
    fn keys_are_lent_from_files_and_agents() {
        needs_root!();
        let space = TestSpace::with_bases(&["debian"]);
        key(&space, "one", "");
        key(&space, "two", "");
        let text = "FROM debian\nUSER 1000:1000\nRUN --mount=type=ssh,required,uid=1000 perl -e 'use IO::Socket::UNIX; \
                    my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die \"no agent: $!\"; \
                    for my $q (11, 19) { syswrite $s, pack(\"NC\", 1, $q); sysread $s, my $h, 4; \
                    sysread $s, my $a, unpack(\"N\", $h); print \"answer to $q: \", unpack(\"C\", $a), \"\\n\"; \
                    print \"key $_\\n\" for $a =~ /(comment-of-\\w+)/g }'\n";
        let said = ["answer to 11: 12", "answer to 19: 5"];
        let ran = space.build_text(text, &["--no-cache", "--ssh", "default=one,two"]).ok();
        ran.says(&said).says(&["key comment-of-one", "key comment-of-two"]);
        eventually("the agent of the build has ended", || processes_with("kiln-ssh-").is_empty());
        // An agent that is there already.
        let socket = space.path("agent");
        let one = space.path("one");
        let started = shell(&format!(
            "eval $(ssh-agent -a {}) >/dev/null && ssh-add -q {} && echo $SSH_AGENT_PID",
            socket.display(),
            one.display()
        ));
        let given = format!("default={}", socket.display());
        let ran = space.build_text(text, &["--no-cache", "--ssh", &given]);
        let kept = shell(&format!("SSH_AUTH_SOCK={} ssh-add -l; kill {started}", socket.display()));
        ran.ok().says(&said).says(&["key comment-of-one"]).does_not_say("comment-of-two");
        assert!(kept.contains("comment-of-one"), "the step cannot take keys out of the agent: {kept}");
    }

    #[test]
    fn what_cannot_be_lent_is_said() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        key(&space, "locked", "a passphrase");
        fs::write(space.path("nonsense"), "no key").unwrap();
        for name in ["locked", "nonsense"] {
            let ran = space.build_text(ASK, &["--ssh", &format!("default={name}")]).ends(3);
            ran.says(&[name]);
        }
        space.build_text(ASK, &["--ssh", "default=not-there"]).ends(2).says(&["not-there"]);
        space.build_text(ASK, &["--ssh", "default=/"]).ends(2).says(&["--ssh"]);
        space.build_text(ASK, &["--ssh", "default"]).ends(2).says(&["SSH_AUTH_SOCK"]);
        space.build_text(ASK, &[]).ends(1).says(&["--ssh default", "Dockerfile:2"]);
    }
}
