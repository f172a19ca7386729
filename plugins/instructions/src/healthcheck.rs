//! HEALTHCHECK: how to see whether a container is well (§14.5).

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};
use kiln_sdk::wit::types::Healthcheck;

use crate::duration::Duration;
use crate::findings::Findings;
use crate::history::{bracketed, configured};
use crate::json::{self, NotStrings};
use crate::keyword::{Flag, Keyword, RAW};
use crate::shell_form::{warn_of_json, warn_of_no_shell};
use crate::statement::{nonempty_flag, only};

pub(crate) static HEALTHCHECK: Keyword = Keyword {
    name: "HEALTHCHECK",
    summary: "says how to see whether a container is well",
    usage: "HEALTHCHECK [--interval=D] [--timeout=D] [--start-period=D] [--start-interval=D] [--retries=N] CMD COMMAND | NONE",
    form: RAW,
    heredocs: HeredocForm::Refused,
    flags: &[
        Flag::text("interval"),
        Flag::text("retries"),
        Flag::text("start-interval"),
        Flag::text("start-period"),
        Flag::text("timeout"),
    ],
    traits: &[],
    validate: |statement, findings| {
        read(statement, findings);
    },
    apply,
};

const CODE: &str = "invalid-healthcheck";

struct Check {
    test: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let check = read(statement, findings)?;
    if check.test.first().is_some_and(|kind| kind == "CMD-SHELL") {
        let command = check.test.last().map_or("", String::as_str);
        warn_of_json(statement, command, "HEALTHCHECK CMD", findings);
        warn_of_no_shell(statement, stage, "HEALTHCHECK CMD", findings);
    }
    let created_by = format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        bracketed(&check.test),
        check.interval,
        check.timeout,
        check.start_period,
        check.start_interval,
        check.retries,
    );
    let text = |duration: Duration| match duration {
        Duration::ZERO => String::new(),
        _ => duration.to_string(),
    };
    let healthcheck = Healthcheck {
        interval: text(check.interval),
        timeout: text(check.timeout),
        start_period: text(check.start_period),
        start_interval: text(check.start_interval),
        retries: check.retries,
        test: check.test,
    };
    Some(configured(vec![ConfigChange::Healthcheck(Some(healthcheck))], created_by))
}

fn read(statement: &Statement, findings: &mut Findings) -> Option<Check> {
    let text = only(statement, "`CMD command` or `NONE`", findings)?;
    let (kind, command) = text.value.split_once(char::is_whitespace).unwrap_or((&text.value, ""));
    let command = command.trim();
    let mut wrong = |message: String, help: &str| {
        findings.push(Diagnostic::error(CODE, message).at(&text.at).help(help));
        None
    };
    if kind.eq_ignore_ascii_case("NONE") {
        if !command.is_empty() {
            return wrong(format!("HEALTHCHECK NONE takes no arguments, not `{command}`"), "");
        }
        if let Some(flag) = statement.flag_values.first() {
            let message = format!("`--{}` does nothing with HEALTHCHECK NONE", flag.name);
            findings.push(Diagnostic::warning("no-effect", message).at(&flag.at));
        }
        let zero = Duration::ZERO;
        return Some(Check {
            test: vec!["NONE".into()],
            interval: zero,
            timeout: zero,
            start_period: zero,
            start_interval: zero,
            retries: 0,
        });
    }
    if !kind.eq_ignore_ascii_case("CMD") {
        let help = match nearest(kind, ["CMD", "NONE"]) {
            Some("NONE") => "write `HEALTHCHECK NONE`",
            _ => "write `HEALTHCHECK CMD` and the command",
        };
        return wrong(format!("`{kind}` is no kind of health check; there are CMD and NONE"), help);
    }
    let test = match json::strings(command) {
        Ok(argv) if argv.is_empty() => return wrong("HEALTHCHECK CMD needs a command".into(), ""),
        Ok(argv) => std::iter::once("CMD".into()).chain(argv).collect(),
        Err(NotStrings::OtherElement) => {
            return wrong("the elements of the array after HEALTHCHECK CMD must be strings".into(), "");
        }
        Err(NotStrings::NotAnArray(_)) if command.is_empty() => {
            return wrong("HEALTHCHECK CMD needs a command".into(), "");
        }
        Err(NotStrings::NotAnArray(_)) => vec!["CMD-SHELL".into(), command.into()],
    };
    let interval = duration(statement, "interval", findings);
    let timeout = duration(statement, "timeout", findings);
    let start_period = duration(statement, "start-period", findings);
    let start_interval = duration(statement, "start-interval", findings);
    let retries = retries(statement, findings);
    Some(Check {
        test,
        interval: interval?,
        timeout: timeout?,
        start_period: start_period?,
        start_interval: start_interval?,
        retries: retries?,
    })
}

/// Zero when the flag is not there, or says so.
fn duration(statement: &Statement, name: &str, findings: &mut Findings) -> Option<Duration> {
    let Some(value) = nonempty_flag(statement, name) else { return Some(Duration::ZERO) };
    let text = value.value.as_str();
    let message = match Duration::parse(text) {
        None => format!("`--{name}={text}` is not a duration"),
        Some(duration) if duration < Duration::ZERO => format!("`--{name}={text}` is negative"),
        Some(duration) if duration > Duration::ZERO && duration < Duration::MILLISECOND => {
            format!("`--{name}={text}` is shorter than a millisecond")
        }
        Some(duration) => return Some(duration),
    };
    let help = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => format!("give a unit: `--{name}={text}s`"),
        false => "write a duration such as `30s` or `1m30s`, or `0` for the default".into(),
    };
    findings.push(Diagnostic::error(CODE, message).at(&value.at).help(help));
    None
}

fn retries(statement: &Statement, findings: &mut Findings) -> Option<u32> {
    let Some(value) = nonempty_flag(statement, "retries") else { return Some(0) };
    let found = value.value.parse::<i32>().ok().and_then(|count| u32::try_from(count).ok());
    if found.is_none() {
        let message = format!("`--retries={}` is not a number of times", value.value);
        findings.push(Diagnostic::error(CODE, message).at(&value.at).help("write a number from 0 on"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Line;

    #[test]
    fn a_line_of_shell_and_a_list_are_told_apart() {
        let applied = Line::new("HEALTHCHECK CMD curl -f localhost || exit 1").apply();
        let check = applied.config().healthcheck.clone().unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost || exit 1"]);
        assert_eq!(
            applied.history(),
            [
                "HEALTHCHECK {Test:[CMD-SHELL curl -f localhost || exit 1] Interval:0s Timeout:0s StartPeriod:0s \
              StartInterval:0s Retries:0}"
            ]
        );
        let applied = Line::new(r#"HEALTHCHECK cmd ["a", "b c"]"#).apply();
        assert_eq!(applied.config().healthcheck.as_ref().unwrap().test, ["CMD", "a", "b c"]);
    }

    #[test]
    fn options_are_kept_in_normal_form() {
        let applied = Line::new(
            "HEALTHCHECK --interval=90s --timeout=500ms --start-period=0 --start-interval=1h --retries=5 CMD x",
        )
        .apply();
        let expected = Healthcheck {
            test: vec!["CMD-SHELL".into(), "x".into()],
            interval: "1m30s".into(),
            timeout: "500ms".into(),
            start_period: String::new(),
            start_interval: "1h0m0s".into(),
            retries: 5,
        };
        assert_eq!(applied.config().healthcheck, Some(expected));
        assert_eq!(
            applied.history(),
            [
                "HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:500ms StartPeriod:0s StartInterval:1h0m0s \
              Retries:5}"
            ]
        );
    }

    #[test]
    fn none_switches_it_off() {
        let applied = Line::new("HEALTHCHECK none").apply();
        assert_eq!(applied.config().healthcheck.as_ref().unwrap().test, ["NONE"]);
        assert_eq!(
            applied.history(),
            ["HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"]
        );
        Line::new("HEALTHCHECK --interval=nonsense NONE").apply().finds("no-effect");
    }

    #[test]
    fn mistakes_are_errors_before_anything_is_built() {
        for (text, message) in [
            ("NONE now", "HEALTHCHECK NONE takes no arguments, not `now`"),
            ("CMD", "HEALTHCHECK CMD needs a command"),
            ("CMD []", "HEALTHCHECK CMD needs a command"),
            ("CMD [1]", "the elements of the array after HEALTHCHECK CMD must be strings"),
            ("curl x", "`curl` is no kind of health check; there are CMD and NONE"),
            ("--interval=5 CMD x", "`--interval=5` is not a duration"),
            ("--timeout=-1s CMD x", "`--timeout=-1s` is negative"),
            ("--timeout=1us CMD x", "`--timeout=1us` is shorter than a millisecond"),
            ("--retries=-1 CMD x", "`--retries=-1` is not a number of times"),
            ("--retries=x CMD x", "`--retries=x` is not a number of times"),
        ] {
            Line::new(&format!("HEALTHCHECK {text}")).is_wrong("invalid-healthcheck", message);
        }
        Line::new("HEALTHCHECK")
            .is_wrong("argument-count", "HEALTHCHECK needs one argument, `CMD command` or `NONE`");
    }

    #[test]
    fn a_check_that_no_shell_can_run_is_doubted() {
        Line::new("HEALTHCHECK CMD x").on_nothing().apply().finds("no-shell");
        let found = Line::new("HEALTHCHECK CMD ['x']").apply();
        assert_eq!(found.finds("looks-like-json").help, r#"write `HEALTHCHECK CMD ["x"]`"#);
    }
}
