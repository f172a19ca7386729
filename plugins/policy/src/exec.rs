//! Point 3: what steps run, and with which network and rights.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{ExecOp, Graph, OpKind};
use kiln_sdk::wit::policy_types::{ExecLimits, ExecVerdict};

use crate::findings::{placed, subject};
use crate::glob::Glob;
use crate::rules::Code;
use crate::settings::{Network, Settings};
use crate::shell::{self, Command, List, Pipeline, Simple};
use crate::{names, tokens};

/// Deeper nesting of shells in shells is not followed.
const MAX_DEPTH: usize = 8;

const SHELLS: [&str; 9] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox"];
const INTERPRETERS: [&str; 8] = ["python", "python2", "python3", "perl", "ruby", "node", "php", "lua"];
const FETCHERS: [&str; 8] = ["curl", "wget", "fetch", "aria2c", "http", "https", "lynx", "ftp"];

/// Words before the program of a command; with each, those of its flags that take a word.
const WRAPPERS: [(&str, &[&str]); 16] = [
    ("sudo", &["-u", "-g", "-C", "-h", "-p", "-r", "-t", "-D", "-R", "-U"]),
    ("doas", &["-u", "-C"]),
    ("env", &["-u", "-C", "-S"]),
    ("exec", &["-a"]),
    ("command", &[]),
    ("builtin", &[]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("time", &["-f", "-o"]),
    ("timeout", &["-s", "-k"]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("xargs", &["-I", "-n", "-P", "-L", "-d", "-a", "-s"]),
    ("busybox", &[]),
    ("chroot", &[]),
];

/// Words that end a compound command.
fn is_end(word: &str) -> bool {
    ["}", "fi", "done", "esac"].contains(&word)
}

/// Words that begin or continue a compound command.
const RESERVED: [&str; 13] =
    ["if", "then", "else", "elif", "do", "while", "until", "for", "case", "in", "!", "{", "}"];

pub(crate) fn check(settings: &Settings, graph: &Graph, execs: &[u32]) -> Vec<ExecVerdict> {
    execs
        .iter()
        .map(|index| match graph.ops.get(*index as usize) {
            Some(op) => match &op.kind {
                OpKind::Exec(exec) => {
                    let (limits, findings) = judge(settings, exec);
                    let at = |finding: Diagnostic| {
                        let mut finding = placed(finding, &op.spans);
                        finding.nodes = vec![*index];
                        finding
                    };
                    ExecVerdict { limits, diagnostics: findings.into_iter().map(at).collect() }
                }
                _ => ExecVerdict { limits: None, diagnostics: Vec::new() },
            },
            None => ExecVerdict { limits: None, diagnostics: Vec::new() },
        })
        .collect()
}

fn judge(settings: &Settings, exec: &ExecOp) -> (Option<ExecLimits>, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    if settings.network != Network::Any && exec.network == "host" {
        findings.push(
            Code::HostNetwork
                .found("this step wants the network of the machine")
                .help("take `--network=host` out, and the grant `network.host` from the command line"),
        );
    }
    if settings.no_insecure && exec.security == "insecure" {
        findings.push(
            Code::InsecureStep.found("this step wants to run without its sandbox").help(
                "take `--security=insecure` out, and the grant `security.insecure` from the command line",
            ),
        );
    }
    if !settings.deny_commands.is_empty() || settings.no_pipe_to_shell {
        programs(settings, exec, &mut findings);
    }
    if settings.no_secrets {
        for pair in &exec.env {
            let why = names::suspect(&pair.key, &pair.value)
                .or_else(|| tokens::find(pair.value.as_bytes()).first().map(|found| found.kind));
            if let Some(why) = why {
                findings.push(
                    Code::SecretInEnv
                        .found(format!("the variable `{}` of this step holds what looks like {why}", subject(&pair.key)))
                        .help("hand it to the step with `RUN --mount=type=secret,env=NAME`, which is kept nowhere"),
                );
            }
        }
    }
    let limits = (settings.network == Network::None).then(|| ExecLimits {
        network: "none".to_owned(),
        security: String::new(),
        seconds: 0,
        memory_mib: 0,
    });
    (limits, findings)
}

fn programs(settings: &Settings, exec: &ExecOp, findings: &mut Vec<Diagnostic>) {
    let mut look = Look { deny: &settings.deny_commands, run: Vec::new(), denied: Vec::new(), piped: None };
    look.argv(&exec.args, 0);
    for (program, pattern) in &look.denied {
        findings.push(
            Code::CommandDenied
                .found(format!("this step runs `{program}`, which is denied by `{pattern}`"))
                .help(match &**program {
                    "sudo" | "su" | "doas" => {
                        "steps run as the user of the stage: write `USER` before the step"
                    }
                    _ => "do without it, or ask whoever keeps the policy for an exemption",
                }),
        );
    }
    if let (true, Some((fetcher, shell))) = (settings.no_pipe_to_shell, &look.piped) {
        findings.push(
            Code::PipeToShell
                .found(format!("this step runs with `{shell}` what `{fetcher}` downloads"))
                .help("fetch the file with `ADD --checksum=sha256:…`, then run it"),
        );
    }
}

/// What was seen of a step.
struct Look<'a> {
    deny: &'a [Glob],
    /// Programs, for finding out whether there is a fetcher among them.
    run: Vec<String>,
    /// A program, and the pattern that denies it; each once.
    denied: Vec<(String, String)>,
    /// What downloads, and what runs the download.
    piped: Option<(String, String)>,
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

fn is_interpreter(name: &str) -> bool {
    // `python3.12` as well as `python3`.
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    is_shell(name) || INTERPRETERS.contains(&name) || INTERPRETERS.contains(&stem)
}

impl Look<'_> {
    fn argv(&mut self, args: &[String], depth: usize) {
        let words = args.iter().map(|text| shell::Word { text: text.clone(), made_by: Vec::new() }).collect();
        self.simple(&Simple { words, documents: Vec::new() }, depth);
    }

    fn list(&mut self, list: &List, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let begin = self.run.len();
        for pipeline in list {
            self.pipeline(pipeline, begin, depth);
        }
    }

    /// `begin` is how much had been run before the list in which the pipeline stands.
    fn pipeline(&mut self, pipeline: &Pipeline, begin: usize, depth: usize) {
        let mut fetcher: Option<String> = match pipeline.first() {
            // Into `} | sh` goes what was said before the bracket.
            Some(Command::Simple(simple)) if simple.words.first().is_some_and(|word| is_end(&word.text)) => {
                self.fetcher_since(begin)
            }
            _ => None,
        };
        for command in pipeline {
            let before = self.run.len();
            let runs_input = match command {
                Command::Simple(simple) => self.simple(simple, depth),
                Command::Group(list) => {
                    self.list(list, depth);
                    list.iter().flatten().find_map(|command| match command {
                        Command::Simple(simple) => runs_input(&program(simple).1),
                        Command::Group(_) => None,
                    })
                }
            };
            if let (Some(fetcher), Some(shell)) = (&fetcher, runs_input) {
                self.piped.get_or_insert_with(|| (fetcher.clone(), shell));
            }
            if fetcher.is_none() {
                fetcher = self.fetcher_since(before);
            }
        }
    }

    fn fetcher_since(&self, before: usize) -> Option<String> {
        self.run[before..].iter().find(|name| FETCHERS.contains(&name.as_str())).cloned()
    }

    /// Notes what a command runs. Returns the shell that runs what comes in, if that is what the command is.
    fn simple(&mut self, simple: &Simple, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return None;
        }
        let before = self.run.len();
        for list in simple.words.iter().flat_map(|word| &word.made_by) {
            self.list(list, depth + 1);
        }
        let fetcher = self.fetcher_since(before);
        let (wrappers, words) = program(simple);
        for program in wrappers.iter().chain(words.first()) {
            self.program(program);
        }
        let name = words.first().map(|word| base_name(word).to_owned()).unwrap_or_default();
        if name == "find" {
            for pair in
                words.windows(2).filter(|pair| ["-exec", "-execdir", "-ok", "-okdir"].contains(&&*pair[0]))
            {
                self.program(&pair[1]);
            }
        }
        if let Some(fetcher) = fetcher
            && (is_interpreter(&name) || ["eval", "source", "."].contains(&&*name))
        {
            self.piped.get_or_insert((fetcher, name.clone()));
        }
        if let Some(script) = script(&name, &words) {
            self.list(&shell::parse(&script), depth + 1);
        }
        let runs_input = runs_input(&words);
        if runs_input.is_some() && is_shell(&name) {
            for document in &simple.documents {
                self.list(&shell::parse(document), depth + 1);
            }
        }
        runs_input
    }

    fn program(&mut self, program: &str) {
        let name = base_name(program);
        self.run.push(name.to_owned());
        let pattern = self.deny.iter().find(|pattern| pattern.matches(program) || pattern.matches(name));
        if let Some(pattern) = pattern
            && !self.denied.iter().any(|(known, _)| known == name)
        {
            self.denied.push((name.to_owned(), pattern.as_str().to_owned()));
        }
    }
}

/// The programs that only start another one, and the words of that one.
fn program(simple: &Simple) -> (Vec<String>, Vec<String>) {
    let mut words = simple.words.iter().map(|word| word.text.clone()).peekable();
    let mut wrappers = Vec::new();
    loop {
        while words.peek().is_some_and(|word| is_assignment(word) || RESERVED.contains(&&**word)) {
            words.next();
        }
        let wrapper =
            words.peek().and_then(|word| WRAPPERS.iter().find(|(name, _)| *name == base_name(word)));
        let Some((name, with_word)) = wrapper else { break };
        wrappers.extend(words.next());
        while let Some(flag) = words.next_if(|word| word.starts_with('-') && word.len() > 1) {
            if with_word.contains(&&*flag) {
                words.next();
            }
        }
        // These have a word of their own before the program.
        if ["timeout", "chroot"].contains(name) {
            words.next();
        }
    }
    let words: Vec<String> = words.collect();
    // `busybox` by itself, or `env` that prints.
    let words = if words.is_empty() { wrappers.pop().into_iter().collect() } else { words };
    (wrappers, words)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// The text that a shell is given to run: `sh -ec TEXT`, `eval TEXT…`.
fn script(name: &str, words: &[String]) -> Option<String> {
    if name == "eval" {
        return Some(words[1..].join(" "));
    }
    if ["su"].contains(&name) || is_shell(name) {
        let flag = words.iter().skip(1).position(|word| {
            word.starts_with('-') && !word.starts_with("--") && word.ends_with('c') || word == "--command"
        })?;
        return words.get(flag + 2).cloned();
    }
    None
}

/// The name of a shell or interpreter that runs what it reads.
fn runs_input(words: &[String]) -> Option<String> {
    let name = base_name(words.first()?);
    if !is_interpreter(name) {
        return None;
    }
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-" | "-s" | "/dev/stdin" | "/proc/self/fd/0" => break,
            "-o" | "+o" | "-O" => {
                rest.next();
            }
            "-c" | "-e" | "-m" => {
                // `sh -e` stops at errors, `perl -e` and `python -m` run something else.
                if !is_shell(name) || word == "-c" {
                    return None;
                }
            }
            flag if flag.starts_with('-') || flag.starts_with('+') => {
                if is_shell(name) && flag.ends_with('c') && !flag.starts_with("--") {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(name.to_owned())
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
