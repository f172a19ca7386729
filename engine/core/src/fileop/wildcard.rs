//! Finds what a path with wildcards names.

use crate::merged::{Follow, Look, ResolveError, follow};
use crate::pattern::{Glob, PatternError, has_wildcard};
use crate::tree::TreePath;

/// One thing that a pattern names.
pub(crate) struct Match<At> {
    pub(crate) path: TreePath,
    pub(crate) at: At,
}

/// Whether some component of a path is a pattern.
pub(crate) fn is_pattern(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(has_wildcard)
}

/// In order. Links in the literal directories at the beginning are followed, those below are not. That there is no
/// such directory is no error.
pub(crate) fn expand<L: Look>(look: &L, pattern: &[u8]) -> Result<Vec<Match<L::At>>, PatternError> {
    let pattern = TreePath::clean(pattern);
    let parts: Vec<&[u8]> = pattern.components().collect();
    let literal = parts.iter().position(|part| has_wildcard(part)).unwrap_or(parts.len());
    let globs: Vec<Glob> = parts[literal..].iter().map(|part| Glob::parse(part)).collect::<Result<_, _>>()?;
    let lead = TreePath::clean(parts[..literal].join(&b'/'));
    let lead = match follow(look, &lead, Follow::Last) {
        Ok(lead) if lead.is_whole => lead,
        Ok(_) | Err(ResolveError::NotADirectory { .. } | ResolveError::Loop { .. }) => return Ok(Vec::new()),
    };
    let mut matches = vec![Match { path: lead.path, at: lead.last }];
    for glob in &globs {
        let mut further = Vec::new();
        for above in &matches {
            let names = match glob.literal() {
                Some(name) => vec![name.to_vec()],
                None => look.names(&above.at),
            };
            for name in names.iter().filter(|name| glob.matches(name)) {
                if let Some(at) = look.down(&above.at, name) {
                    further.push(Match { path: above.path.join(name), at });
                }
            }
        }
        matches = further;
    }
    Ok(matches)
}
