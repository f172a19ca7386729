//! Answers a registry's challenge: basic authentication, or a token that another server gives (distribution-spec,
//! "token authentication").

use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::{Method, Response, StatusCode, header};

use super::exchange::{Payload, Request, percent_encoded};
use super::{Credential, Endpoint, Registry, RegistryError, Secret};

/// What is asked of a repository; tokens are for one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Pull,
    Push {
        /// A repository to take blobs from.
        mount: Option<String>,
    },
}

pub(super) type TokenKey = (String, String, Access);

/// The value of an `Authorization` header and how long it serves.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: String,
    pub(super) expires: Option<Instant>,
    /// For messages; `None` for nobody's.
    pub(super) credentials: Option<String>,
}

/// Of a token that does not say how long it lives.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used for its last seconds: clocks differ and requests take time.
const MARGIN: Duration = Duration::from_secs(10);
/// An answer of a token server may have this many bytes.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Registry {
    pub(super) fn known_token(&self, endpoint: &Endpoint, access: &Access) -> Option<Token> {
        let tokens = self.tokens.lock().expect("no thread panics with the lock");
        let token = tokens.get(&(endpoint.origin.clone(), endpoint.repository.clone(), access.clone()))?;
        (!self.is_expired(token)).then(|| token.clone())
    }

    /// Finds an answer to the challenge of a response with the status 401 and remembers it. `None` when there is none:
    /// the registry wants credentials, and there are no others than those that it refused.
    pub(super) fn authenticate<B>(
        &self,
        endpoint: &Endpoint,
        access: &Access,
        refused: &Response<B>,
        before: Option<&Token>,
    ) -> Result<Option<Token>, RegistryError> {
        let challenges: Vec<Challenge> = refused
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let credential = self.credentials.find(&endpoint.host, &endpoint.repository, &self.cancel)?;
        let origin = credential.as_ref().map(|credential| credential.origin.clone());
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => {
                Some((realm.as_str(), service.as_deref(), scope.as_deref()))
            }
            Challenge::Basic => None,
        });
        let token = match (bearer, &credential) {
            (_, Some(Credential { secret: Secret::Bearer(token), .. })) => {
                Token { header: format!("Bearer {token}"), expires: None, credentials: origin }
            }
            (Some((realm, service, scope)), credential) => {
                let scope = scope_of(endpoint, access, scope);
                self.fetch_token(endpoint, realm, service, &scope, credential.as_ref())?
            }
            (None, Some(Credential { secret: Secret::Password { user, password }, .. }))
                if challenges.contains(&Challenge::Basic) =>
            {
                Token { header: basic(user, password), expires: None, credentials: origin }
            }
            (None, _) => return Ok(None),
        };
        if before.is_some_and(|before| before.header == token.header) {
            return Ok(None);
        }
        let key = (endpoint.origin.clone(), endpoint.repository.clone(), access.clone());
        self.tokens.lock().expect("no thread panics with the lock").insert(key, token.clone());
        Ok(Some(token))
    }

    fn fetch_token(
        &self,
        endpoint: &Endpoint,
        realm: &str,
        service: Option<&str>,
        scope: &[String],
        credential: Option<&Credential>,
    ) -> Result<Token, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
            #[serde(default)]
            expires_in: Option<u64>,
        }
        let protocol = |why: String| RegistryError::Protocol { host: endpoint.host.clone(), why };
        let is_plain = realm.starts_with("http://");
        if !is_plain && !realm.starts_with("https://") {
            return Err(protocol(format!("its token server `{realm}` is no address")));
        }
        if is_plain && endpoint.origin.starts_with("https://") && credential.is_some() {
            return Err(protocol(format!(
                "it wants credentials to be sent to `{realm}`, where anybody could read them"
            )));
        }
        let mut url = realm.to_owned();
        let mut form = String::new();
        let mut authorization = None;
        let service = service.map(|service| ("service", service));
        let scopes = scope.iter().map(|scope| ("scope", scope.as_str()));
        match credential.map(|credential| &credential.secret) {
            Some(Secret::Identity(token)) => {
                let fixed = [
                    ("grant_type", "refresh_token"),
                    ("client_id", "kiln"),
                    ("refresh_token", token.as_str()),
                ];
                // One text with blanks between them is how this form wants several scopes.
                let joined = scope.join(" ");
                let joined = (!joined.is_empty()).then_some(("scope", joined.as_str()));
                form = query(fixed.into_iter().chain(service).chain(joined));
            }
            other => {
                if let Some(Secret::Password { user, password }) = other {
                    authorization = Some(basic(user, password));
                }
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&query(service.into_iter().chain(scopes)));
            }
        }
        let mut headers = vec![("accept", "application/json".to_owned())];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let method = if form.is_empty() { Method::GET } else { Method::POST };
        let payload = if form.is_empty() {
            Payload::None
        } else {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            Payload::Bytes(form.as_bytes())
        };
        let what = format!("a token for `{}`", endpoint.repository);
        let request = Request { endpoint, method, url, headers, access: &Access::Pull, what: &what };
        let response = self.run(&request, payload)?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                let credentials = credential.map(|credential| credential.origin.clone());
                return Err(super::exchange::refusal(&request, response, credentials));
            }
            status if !status.is_success() => {
                return Err(super::exchange::refusal(&request, response, None));
            }
            _ => {}
        }
        let mut text = Vec::new();
        let body = response.into_body().into_reader().take(MAX_ANSWER).read_to_end(&mut text);
        body.map_err(|source| self.broken(&request, source))?;
        let answer: Answer = serde_json::from_slice(&text)
            .map_err(|error| protocol(format!("what its token server sends is no token: {error}")))?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| protocol("its token server sends no token".to_owned()))?;
        let life =
            answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(Duration::from_secs(86_400));
        Ok(Token {
            header: format!("Bearer {token}"),
            expires: Some(Instant::now() + life.saturating_sub(MARGIN).max(MARGIN)),
            credentials: credential.map(|credential| credential.origin.clone()),
        })
    }
}

/// What to ask the token server for: what is needed, and what the registry asks for beside it.
fn scope_of(endpoint: &Endpoint, access: &Access, asked: Option<&str>) -> Vec<String> {
    let own = match access {
        Access::Pull => vec![format!("repository:{}:pull", endpoint.repository)],
        Access::Push { mount } => {
            let push = format!("repository:{}:pull,push", endpoint.repository);
            let mount = mount.as_ref().map(|from| format!("repository:{from}:pull"));
            [push].into_iter().chain(mount).collect()
        }
    };
    let prefix = format!("repository:{}:", endpoint.repository);
    let further =
        asked.unwrap_or_default().split_ascii_whitespace().filter(|scope| !scope.starts_with(&prefix));
    own.iter().cloned().chain(further.map(str::to_owned)).collect()
}

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

fn query<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.map(|(key, value)| format!("{key}={}", percent_encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The challenges of one header (RFC 9110, 11.6.1) that kiln can answer.
fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = rest.split_once([' ', ',']).unwrap_or((rest, ""));
        let (parameters, after) = parse_parameters(after);
        rest = after;
        let find = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = find("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: find("service"), scope: find("scope") });
        }
    }
    challenges
}

type Parameters = Vec<(String, String)>;

/// `key=value` pairs up to the next scheme, and what follows them.
fn parse_parameters(mut text: &str) -> (Parameters, &str) {
    let mut parameters = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',', '\t']);
        let Some((key, value)) = text.split_once('=') else {
            return (parameters, text);
        };
        // A blank before the equals sign: that was the next scheme.
        if key.contains([' ', ',']) {
            return (parameters, text);
        }
        if let Some(quoted) = value.strip_prefix('"') {
            let mut content = String::new();
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = characters.next() {
                match c {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => content.extend(characters.next().map(|(_, c)| c)),
                    c => content.push(c),
                }
            }
            parameters.push((key.to_owned(), content));
            text = &quoted[end..];
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            parameters.push((key.to_owned(), value[..end].to_owned()));
            text = &value[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            (
                r#"Basic realm="x\"y", Bearer realm=https://t , service="s""#,
                vec![Challenge::Basic, bearer("https://t", Some("s"), None)],
            ),
            ("Negotiate", vec![]),
            ("Bearer", vec![]),
            (r#"Bearer realm="unclosed"#, vec![bearer("unclosed", None, None)]),
            ("", vec![]),
        ] {
            assert_eq!(parse_challenges(header), expected, "{header}");
        }
    }

    #[test]
    fn scopes_are_what_is_needed_and_what_is_asked_for_beside_it() {
        let endpoint =
            Endpoint { host: "h".to_owned(), origin: "https://h".to_owned(), repository: "a/b".to_owned() };
        let asked = Some("repository:a/b:pull repository:other:pull");
        assert_eq!(
            scope_of(&endpoint, &Access::Pull, asked),
            ["repository:a/b:pull", "repository:other:pull"]
        );
        let push = Access::Push { mount: Some("base".to_owned()) };
        assert_eq!(scope_of(&endpoint, &push, None), ["repository:a/b:pull,push", "repository:base:pull"]);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_grow(
            pieces in vec(select(vec![
                "Bearer", "basic", "Basic ", " ", ",", "=", "\"", "\\", "realm=", "realm=\"https://a/b\"", "scope=x", "é",
                "\t", "a b", "service=\"a,b\"",
            ]), 0..40),
        ) {
            let header = pieces.concat();
            let challenges = parse_challenges(&header);
            let held: usize = challenges.iter().map(|challenge| match challenge {
                Challenge::Basic => 0,
                Challenge::Bearer { realm, service, scope } => {
                    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                    realm.len() + length(service) + length(scope)
                }
            }).sum();
            prop_assert!(held <= header.len() && challenges.len() <= header.len());
        }
    }
}
