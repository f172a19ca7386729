//! Image configurations (image-spec 1.1, config.md, with Docker's extensions): what runs, on which layers, and how
//! they came about.

use kiln_core::digest::DiffId;
use kiln_core::tree::Time;
use kiln_core::{Healthcheck, ImageConfig, Platform};
use serde_json::{Map, Value, json};

use super::{DocumentError, check_size, format_time, parse_digest, parse_time, to_json};

/// One line of history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub created: Option<Time>,
    pub created_by: String,
    pub author: String,
    pub comment: String,
    /// It changed the configuration only.
    pub empty_layer: bool,
}

impl History {
    /// Makes the lines that have a layer as many as there are layers: what is too much loses its layer, and what is
    /// missing is added as lines that say nothing.
    pub fn balance(history: &mut Vec<Self>, layers: usize) {
        let mut counted = 0;
        for line in history.iter_mut().filter(|line| !line.empty_layer) {
            line.empty_layer = counted == layers;
            counted += usize::from(!line.empty_layer);
        }
        history.extend((counted..layers).map(|_| Self::default()));
    }
}

/// An image configuration as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDocument {
    pub platform: Platform,
    /// With `other_json` for what no other field here holds.
    pub config: ImageConfig,
    pub created: Option<Time>,
    pub history: Vec<History>,
    /// Of the uncompressed layers, base first.
    pub diff_ids: Vec<DiffId>,
}

/// An image configuration to be written.
#[derive(Clone, Debug)]
pub struct NewConfig<'a> {
    pub platform: &'a Platform,
    pub config: &'a ImageConfig,
    pub created: Option<Time>,
    pub history: &'a [History],
    pub diff_ids: &'a [DiffId],
}

/// Members about the container from which an old Docker made the image, wrong as soon as anything is built on it.
const FORGOTTEN: [&str; 8] =
    ["id", "parent", "parent_id", "layer_id", "throwaway", "container", "container_config", "docker_version"];
const FORGOTTEN_CONFIG: [&str; 11] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
];

impl ImageDocument {
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        check_size(bytes)?;
        let root: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { source })?;
        let mut root = Members(root);
        let mut platform = Platform::new(
            &root.required_text("os")?,
            &root.required_text("architecture")?,
            &root.text("variant")?,
        );
        platform.os_version = root.text("os.version")?;
        let created = root.time("created")?;
        let author = root.text("author")?;
        let diff_ids = root
            .object("rootfs")?
            .list("diff_ids")?
            .iter()
            .map(|value| match value {
                Value::String(text) => parse_digest("rootfs.diff_ids", text).map(DiffId),
                other => Err(wrong("rootfs.diff_ids", "SHA-256 digest", other)),
            })
            .collect::<Result<_, _>>()?;
        let history = root
            .list("history")?
            .into_iter()
            .map(|line| match line {
                Value::Object(line) => history_line(Members(line)),
                other => Err(wrong("history", "list of objects", &other)),
            })
            .collect::<Result<_, _>>()?;
        let mut config_json = root.object("config")?;
        let mut config = image_config(&mut config_json)?;
        config.author = author;
        config.other_json = rest(root, config_json);
        Ok(Self { platform, config, created, history, diff_ids })
    }
}

fn history_line(mut line: Members) -> Result<History, DocumentError> {
    Ok(History {
        created: line.time("created")?,
        created_by: line.text("created_by")?,
        author: line.text("author")?,
        comment: line.text("comment")?,
        empty_layer: line.flag("empty_layer")?,
    })
}

fn image_config(json: &mut Members) -> Result<ImageConfig, DocumentError> {
    let env = json.texts("Env")?;
    let env = env.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    let labels = match json.take("Labels") {
        None => Vec::new(),
        Some(Value::Object(labels)) => labels
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(value) => Ok((key, value)),
                other => Err(wrong("Labels", "object of texts", &other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong("Labels", "object of texts", &other)),
    };
    let healthcheck = json.object("Healthcheck")?;
    Ok(ImageConfig {
        user: json.text("User")?,
        working_dir: json.text("WorkingDir")?,
        env: last_of_each(env),
        entrypoint: Some(json.texts("Entrypoint")?).filter(|words| !words.is_empty()),
        cmd: Some(json.texts("Cmd")?).filter(|words| !words.is_empty()),
        exposed_ports: json.object("ExposedPorts")?.names(),
        volumes: json.object("Volumes")?.names(),
        labels,
        stop_signal: json.text("StopSignal")?,
        shell: json.texts("Shell")?,
        healthcheck: if healthcheck.0.is_empty() { None } else { Some(self::healthcheck(healthcheck)?) },
        on_build: json.texts("OnBuild")?,
        args_escaped: json.flag("ArgsEscaped")?,
        author: String::new(),
        other_json: String::new(),
    })
}

fn healthcheck(mut json: Members) -> Result<Healthcheck, DocumentError> {
    let retries = json.number("Retries")?;
    Ok(Healthcheck {
        test: json.texts("Test")?,
        interval_ns: json.number("Interval")?,
        timeout_ns: json.number("Timeout")?,
        start_period_ns: json.number("StartPeriod")?,
        start_interval_ns: json.number("StartInterval")?,
        retries: u32::try_from(retries)
            .map_err(|_| wrong("Healthcheck.Retries", "small number", &json!(retries)))?,
    })
}

fn last_of_each<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (key, value) in pairs {
        match all.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value.to_owned(),
            None => all.push((key.to_owned(), value.to_owned())),
        }
    }
    all
}

/// What nobody took, as [`ImageConfig::other_json`] wants it.
fn rest(mut root: Members, mut config: Members) -> String {
    root.0.retain(|key, _| !FORGOTTEN.contains(&&**key));
    config.0.retain(|key, _| !FORGOTTEN_CONFIG.contains(&&**key));
    if !config.0.is_empty() {
        root.0.insert("config".to_owned(), Value::Object(config.0));
    }
    if root.0.is_empty() { String::new() } else { Value::Object(root.0).to_string() }
}

fn wrong(field: &'static str, expected: &'static str, value: &Value) -> DocumentError {
    let mut value = value.to_string();
    // Enough to recognise it.
    if let Some((cut, _)) = value.char_indices().nth(100) {
        value.replace_range(cut.., "…");
    }
    DocumentError::Value { field, expected, value }
}

/// The members of an object, taken out one by one. `null` counts as absent, as in most programs' documents.
struct Members(Map<String, Value>);

impl Members {
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.shift_remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &'static str) -> Result<String, DocumentError> {
        match self.take(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(key, "text", &other)),
        }
    }

    fn required_text(&mut self, key: &'static str) -> Result<String, DocumentError> {
        match self.text(key)? {
            text if text.is_empty() => Err(wrong(key, "text, though an image must have it", &Value::Null)),
            text => Ok(text),
        }
    }

    fn flag(&mut self, key: &'static str) -> Result<bool, DocumentError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong(key, "true or false", &other)),
        }
    }

    fn number(&mut self, key: &'static str) -> Result<u64, DocumentError> {
        match self.take(key) {
            None => Ok(0),
            Some(other) => other.as_u64().ok_or_else(|| wrong(key, "number", &other)),
        }
    }

    fn time(&mut self, key: &'static str) -> Result<Option<Time>, DocumentError> {
        match self.text(key)? {
            text if text.is_empty() => Ok(None),
            text => match parse_time(&text) {
                Some(time) => Ok(Some(time)),
                None => Err(wrong(key, "time", &Value::String(text))),
            },
        }
    }

    fn list(&mut self, key: &'static str) -> Result<Vec<Value>, DocumentError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(wrong(key, "list", &other)),
        }
    }

    /// A list of texts, or one text alone, which very old documents have.
    fn texts(&mut self, key: &'static str) -> Result<Vec<String>, DocumentError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(key, "list of texts", &other)),
                })
                .collect(),
            Some(other) => Err(wrong(key, "list of texts", &other)),
        }
    }

    fn object(&mut self, key: &'static str) -> Result<Self, DocumentError> {
        match self.take(key) {
            None => Ok(Self(Map::new())),
            Some(Value::Object(map)) => Ok(Self(map)),
            Some(other) => Err(wrong(key, "object", &other)),
        }
    }

    fn names(self) -> Vec<String> {
        self.0.into_iter().map(|(key, _)| key).collect()
    }
}

/// Writes an image configuration: members in the order of the specification, what is empty left out, names sorted
/// where their order means nothing, then what [`ImageConfig::other_json`] has. The history should be balanced
/// ([`History::balance`]).
///
/// # Errors
///
/// When `other_json` is no JSON object.
pub fn config_json(new: &NewConfig<'_>) -> Result<Vec<u8>, DocumentError> {
    let mut root = Map::new();
    let mut put = |key: &str, value: Value| root.insert(key.to_owned(), value);
    if let Some(created) = new.created {
        put("created", json!(format_time(created)));
    }
    if !new.config.author.is_empty() {
        put("author", json!(new.config.author));
    }
    put("architecture", json!(new.platform.arch));
    put("os", json!(new.platform.os));
    if !new.platform.os_version.is_empty() {
        put("os.version", json!(new.platform.os_version));
    }
    if !new.platform.variant.is_empty() {
        put("variant", json!(new.platform.variant));
    }
    put("config", Value::Object(config_object(new.config)));
    let diff_ids: Vec<String> = new.diff_ids.iter().map(DiffId::to_string).collect();
    put("rootfs", json!({"type": "layers", "diff_ids": diff_ids}));
    if !new.history.is_empty() {
        put("history", Value::Array(new.history.iter().map(history_json).collect()));
    }
    if !new.config.other_json.is_empty() {
        let other: Map<String, Value> =
            serde_json::from_str(&new.config.other_json).map_err(|source| DocumentError::Json { source })?;
        merge(&mut root, other);
    }
    Ok(to_json(&root))
}

/// Adds what `to` does not have, in objects of both also inside.
fn merge(to: &mut Map<String, Value>, other: Map<String, Value>) {
    for (key, value) in other {
        match (to.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (Some(_), _) => {}
            (None, value) => {
                to.insert(key, value);
            }
        }
    }
}

fn config_object(config: &ImageConfig) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| {
        let empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(flag) => !flag,
            other => other.is_null(),
        };
        if !empty {
            members.insert(key.to_owned(), value);
        }
    };
    let env: Vec<String> = config.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    put("User", json!(config.user));
    put("ExposedPorts", name_set(&config.exposed_ports));
    put("Env", json!(env));
    put("Entrypoint", json!(config.entrypoint));
    put("Cmd", json!(config.cmd));
    put("Volumes", name_set(&config.volumes));
    put("WorkingDir", json!(config.working_dir));
    // Through a sorted map; of two values of one label the last one stays.
    let labels: std::collections::BTreeMap<_, _> =
        config.labels.iter().map(|(key, value)| (key, value)).collect();
    put("Labels", json!(labels));
    put("StopSignal", json!(config.stop_signal));
    put("ArgsEscaped", json!(config.args_escaped));
    put("Healthcheck", config.healthcheck.as_ref().map_or(Value::Null, healthcheck_json));
    put("OnBuild", json!(config.on_build));
    put("Shell", json!(config.shell));
    members
}

fn name_set(names: &[String]) -> Value {
    let sorted: std::collections::BTreeSet<_> = names.iter().collect();
    Value::Object(sorted.into_iter().map(|name| (name.clone(), json!({}))).collect())
}

fn healthcheck_json(check: &Healthcheck) -> Value {
    let mut members = Map::new();
    if !check.test.is_empty() {
        members.insert("Test".to_owned(), json!(check.test));
    }
    for (key, value) in [
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
        ("Retries", u64::from(check.retries)),
    ] {
        if value != 0 {
            members.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(members)
}

fn history_json(line: &History) -> Value {
    let mut members = Map::new();
    if let Some(created) = line.created {
        members.insert("created".to_owned(), json!(format_time(created)));
    }
    for (key, value) in
        [("created_by", &line.created_by), ("author", &line.author), ("comment", &line.comment)]
    {
        if !value.is_empty() {
            members.insert(key.to_owned(), json!(value));
        }
    }
    if line.empty_layer {
        members.insert("empty_layer".to_owned(), json!(true));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use kiln_core::Digest;

    use super::*;

    fn write(document: &ImageDocument) -> String {
        let new = NewConfig {
            platform: &document.platform,
            config: &document.config,
            created: document.created,
            history: &document.history,
            diff_ids: &document.diff_ids,
        };
        String::from_utf8(config_json(&new).unwrap()).unwrap()
    }

    #[test]
    fn every_member_has_its_place() {
        let digest = Digest::of(b"layer");
        let text = format!(
            concat!(
                r#"{{"created":"2023-11-14T22:13:20.5Z","author":"me","architecture":"arm","os":"linux","variant":"v7","#,
                r#""config":{{"User":"app:app","ExposedPorts":{{"443/tcp":{{}},"80/tcp":{{}}}},"#,
                r#""Env":["PATH=/bin","A=b=c"],"Entrypoint":["/init"],"Cmd":["run","x"],"Volumes":{{"/data":{{}}}},"#,
                r#""WorkingDir":"/srv","Labels":{{"a":"1","b":"2"}},"StopSignal":"SIGQUIT","ArgsEscaped":true,"#,
                r#""Healthcheck":{{"Test":["CMD","true"],"Interval":30000000000,"StartInterval":5,"Retries":3}},"#,
                r#""OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],"Memory":7}},"#,
                r#""rootfs":{{"type":"layers","diff_ids":["{}"]}},"#,
                r#""history":[{{"created":"1970-01-01T00:00:00Z","created_by":"COPY x","comment":"kiln"}},"#,
                r#"{{"created_by":"CMD","empty_layer":true}}],"os.features":["x"]}}"#
            ),
            digest
        );
        let document = ImageDocument::parse(text.as_bytes()).unwrap();
        assert_eq!(document.platform.to_string(), "linux/arm/v7");
        assert_eq!(document.config.env[1], ("A".to_owned(), "b=c".to_owned()));
        assert_eq!(document.config.healthcheck.as_ref().unwrap().retries, 3);
        assert_eq!(document.config.other_json, r#"{"os.features":["x"],"config":{"Memory":7}}"#);
        assert_eq!(write(&document), text);
    }

    #[test]
    fn what_is_empty_is_absent() {
        let document = ImageDocument {
            platform: Platform::new("linux", "amd64", ""),
            config: ImageConfig { cmd: Some(Vec::new()), ..ImageConfig::default() },
            created: None,
            history: Vec::new(),
            diff_ids: Vec::new(),
        };
        assert_eq!(
            write(&document),
            r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#
        );
    }

    #[test]
    fn documents_of_old_dockers_are_read_and_their_container_is_forgotten() {
        let text = r#"{"id":"x","architecture":"amd64","os":"linux","docker_version":"1.9","container":"y",
            "config":{"Hostname":"h","Image":"i","Cmd":"/bin/sh","Env":null,"Volumes":null,"Labels":null,
            "Entrypoint":null,"OnBuild":[],"Env":["A=1","B=2","A=3"]},"container_config":{"Cmd":["x"]},
            "rootfs":{"type":"layers"},"history":null}"#;
        let document = ImageDocument::parse(text.as_bytes()).unwrap();
        assert_eq!(document.config.cmd, Some(vec!["/bin/sh".to_owned()]));
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(document.config.env, [pair("A", "3"), pair("B", "2")]);
        assert_eq!(document.config.other_json, "");
    }

    #[test]
    fn wrong_documents_say_what_is_wrong() {
        for (text, said) in [
            ("[]", "JSON"),
            ("{}", "`os`"),
            (r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["x"]}}"#, "rootfs.diff_ids"),
            (r#"{"os":"linux","architecture":"amd64","config":{"Env":[1]}}"#, "`Env`"),
            (r#"{"os":"linux","architecture":"amd64","created":"once"}"#, "`created`"),
            (
                r#"{"os":"linux","architecture":"amd64","config":{"Healthcheck":{"Interval":-1}}}"#,
                "`Interval`",
            ),
        ] {
            let error = ImageDocument::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn history_is_made_to_fit_the_layers() {
        let line = |empty_layer| History { empty_layer, ..History::default() };
        let layers = |history: &[History]| history.iter().filter(|line| !line.empty_layer).count();
        for before in [vec![], vec![line(false)], vec![line(false), line(true), line(false), line(false)]] {
            let mut after = before.clone();
            History::balance(&mut after, 2);
            assert_eq!(layers(&after), 2);
            assert!(after.len() >= before.len());
        }
    }
}
