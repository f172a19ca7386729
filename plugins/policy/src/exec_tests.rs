use kiln_sdk::GraphBuilder;

use super::*;
use crate::testing::{codes, pair, settings, span};

fn ask(options: &[(&str, &str)], exec: ExecOp) -> ExecVerdict {
    let mut graph = GraphBuilder::new().at(&span(2), "RUN");
    let base = graph.scratch();
    let output = graph.exec(base, exec);
    let mut verdicts = check(&settings(options), &graph.finish(), &[output.op]);
    let verdict = verdicts.remove(0);
    for finding in &verdict.diagnostics {
        assert_eq!((finding.primary.as_ref(), finding.nodes.as_slice()), (Some(&span(2)), [1].as_slice()));
        assert!(!finding.help.is_empty(), "{finding:?}");
    }
    verdict
}

fn run(script: &str) -> ExecOp {
    ExecOp { args: ["/bin/sh", "-c", script].map(String::from).to_vec(), ..ExecOp::default() }
}

#[test]
fn a_program_is_found_wherever_the_shell_runs_it() {
    let check = |script: &str, expected: bool| {
        let verdict = ask(&[("deny-commands", "sudo"), ("deny-commands", "/opt/**")], run(script));
        assert_eq!(codes(&verdict.diagnostics) == ["command-denied"], expected, "{script}");
    };
    check("sudo make", true);
    check("make && /usr/bin/sudo -u me make install", true);
    check("if true; then sudo x; fi", true);
    check("A=1 B=2 sudo x", true);
    check("env A=1 nice -n 5 sudo x", true);
    check("x $(sudo id)", true);
    check("x `sudo id`", true);
    check("(cd a; sudo x)", true);
    check("bash -ec 'sudo x'", true);
    check("eval 'sudo x'", true);
    check("case a in a) sudo x;; esac", true);
    check("find . | xargs -n 1 sudo rm", true);
    check("find . -type f -exec sudo rm {} +", true);
    check("sh <<E\nsudo x\nE", true);
    check("/opt/tools/x", true);
    check("x |\n  \\\n sudo tee y", true);
    check("apt-get install sudo", false);
    check("echo sudo", false);
    check("cat > x <<E\nsudo x\nE", false);
    check("# sudo x", false);
    check("echo 'sudo x'", false);
    check("sudo-replay", false);
    let exec = ExecOp { args: vec!["/usr/bin/sudo".into(), "x".into()], ..ExecOp::default() };
    let found = ask(&[("deny-commands", "sudo")], exec).diagnostics;
    assert_eq!(found[0].message, "this step runs `sudo`, which is denied by `sudo`");
}

#[test]
fn what_is_downloaded_is_not_run_unseen() {
    let check = |script: &str, expected: bool| {
        let verdict = ask(&[("no-pipe-to-shell", "true")], run(script));
        assert_eq!(codes(&verdict.diagnostics) == ["pipe-to-shell"], expected, "{script}");
    };
    check("curl -fsSL https://example.com/x | sh", true);
    check("curl https://example.com/x | bash -s -- --yes", true);
    check("wget -qO- https://example.com/x | sudo -E bash -", true);
    check("curl x | tee y | sh -ex", true);
    check("curl x | gunzip | python3 -", true);
    check("(cd /tmp && curl x) | sh", true);
    check("curl x | (cd y; sh)", true);
    check("sh -c \"$(curl -fsSL x)\"", true);
    check("bash <(curl x)", true);
    check("source <(curl x)", true);
    check("eval \"$(wget -qO- x)\"", true);
    check("bash -c 'curl x | bash'", true);
    check("curl x | xargs -I {} env A=1 bash", true);
    check("curl x | busybox sh", true);
    check("curl x |\n  sh", true);
    check("{ curl x; } | sh", true);
    check("if true; then curl x; fi | sh", true);
    check("for i in a b; do curl $i; done | sh", true);
    check("curl x > y; for i in a; do echo $i; done", false);
    check("curl x -o y && sh y", false);
    check("curl x | tar xz", false);
    check("curl x | sh script.sh", false);
    check("curl x | python3 -c 'import sys'", false);
    check("curl x | python3 -m json.tool", false);
    check("curl x; sh", false);
    check("echo 'curl x | sh'", false);
    check("cat y | sh", false);
    let found = ask(&[("no-pipe-to-shell", "true")], run("curl x | bash")).diagnostics;
    assert_eq!(found[0].message, "this step runs with `bash` what `curl` downloads");
}

#[test]
fn network_and_sandbox_are_denied_or_narrowed() {
    let host = || ExecOp { network: "host".into(), ..run("true") };
    assert_eq!(codes(&ask(&[("network", "no-host")], host()).diagnostics), ["host-network"]);
    assert_eq!(codes(&ask(&[("network", "none")], host()).diagnostics), ["host-network"]);
    assert_eq!(codes(&ask(&[("network", "any")], host()).diagnostics), [""; 0]);
    assert_eq!(ask(&[("network", "no-host")], run("true")).limits, None);
    let limits = ask(&[("network", "none")], run("true")).limits.unwrap();
    assert_eq!((limits.network.as_str(), limits.security.as_str()), ("none", ""));
    let insecure = ExecOp { security: "insecure".into(), ..run("true") };
    assert_eq!(codes(&ask(&[("no-insecure", "true")], insecure.clone()).diagnostics), ["insecure-step"]);
    assert_eq!(codes(&ask(&[], insecure).diagnostics), [""; 0]);
}

#[test]
fn a_variable_of_a_step_holds_no_secret() {
    let with = |key: &str, value: &str| ExecOp { env: vec![pair(key, value)], ..run("true") };
    let on = [("no-secrets", "true")];
    assert_eq!(codes(&ask(&on, with("NPM_TOKEN", "abc")).diagnostics), ["secret-in-env"]);
    let token = format!("ghp_{}", "aB3dE5gH7jK9".repeat(3));
    assert_eq!(codes(&ask(&on, with("X", &token)).diagnostics), ["secret-in-env"]);
    assert_eq!(codes(&ask(&on, with("PATH", "/bin")).diagnostics), [""; 0]);
}
