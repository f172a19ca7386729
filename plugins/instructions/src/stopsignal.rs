//! STOPSIGNAL: the signal that stops a container (§13.5).

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::configured;
use crate::keyword::{Keyword, TEXT};
use crate::statement::{comment_in_text, only};

pub(crate) static STOPSIGNAL: Keyword = Keyword {
    name: "STOPSIGNAL",
    summary: "says which signal stops a container",
    usage: "STOPSIGNAL SIGNAL",
    form: TEXT,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate: |statement, findings| {
        only(statement, "the signal", findings);
        comment_in_text(statement, "the signal's name", findings);
    },
    apply,
};

/// The signals of Linux, without `SIG`; real-time ones are told by rule.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let signal = only(statement, "the signal", findings)?;
    if stage.platform.os == "windows" {
        let message = "STOPSIGNAL: Windows has no signals";
        findings.push(Diagnostic::error("unsupported-platform", message).at(&statement.at));
        return None;
    }
    if !is_signal(&signal.value) {
        let message = format!("`{}` is not a signal", signal.value);
        let mut error = Diagnostic::error("invalid-signal", message).at(&signal.at);
        let word = signal.value.to_ascii_uppercase();
        let near = nearest(word.strip_prefix("SIG").unwrap_or(&word), NAMES);
        error = match near {
            Some(near) => error.help(format!("write `STOPSIGNAL SIG{near}`")),
            None => error.help("write a name such as `SIGTERM`, `SIGRTMIN+3`, or a number other than 0"),
        };
        findings.push(error);
        return None;
    }
    let change = ConfigChange::StopSignal(signal.value.clone());
    Some(configured(vec![change], format!("STOPSIGNAL {}", signal.value)))
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let word = text.to_ascii_uppercase();
    let name = word.strip_prefix("SIG").unwrap_or(&word);
    let offset = |prefix: &str, highest: u32| {
        let digits = name.strip_prefix(prefix)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        digits.parse::<u32>().ok().filter(|it| plain && (1..=highest).contains(it))
    };
    NAMES.contains(&name) || offset("RTMIN+", 15).is_some() || offset("RTMAX-", 14).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Line;

    #[test]
    fn signals_are_numbers_or_names() {
        for text in
            ["9", "64", "SIGTERM", "term", "sigquit", "SIGRTMIN+3", "RTMIN+15", "RTMAX-14", "RTMIN", "XFSZ"]
        {
            assert!(is_signal(text), "{text}");
        }
        for text in
            ["0", "SIGFOO", "", "SIG", "RTMIN+16", "RTMIN+0", "RTMAX-15", "RTMIN+03", "9.5", "SIGSIGTERM"]
        {
            assert!(!is_signal(text), "{text}");
        }
    }

    #[test]
    fn the_signal_is_stored_as_written() {
        let applied = Line::new("STOPSIGNAL sigquit").apply();
        assert_eq!(applied.config().stop_signal, "sigquit");
        assert_eq!(applied.history(), ["STOPSIGNAL sigquit"]);
    }

    #[test]
    fn unknown_signals_are_errors_only_where_they_are_evaluated() {
        let line = Line::new("STOPSIGNAL SIGTREM");
        assert_eq!(line.is_wrong_when_applied("invalid-signal").help, "write `STOPSIGNAL SIGTERM`");
        let mut line = Line::new("STOPSIGNAL SIGTERM");
        line.stage.platform.os = "windows".into();
        line.is_wrong_when_applied("unsupported-platform");
        Line::new("STOPSIGNAL").is_wrong("argument-count", "STOPSIGNAL needs one argument, the signal");
    }
}
