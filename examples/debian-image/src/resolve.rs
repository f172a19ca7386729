//! Which packages an image consists of: what is named, and what that depends on.
//!
//! What can be satisfied in one way only is settled first; where there are alternatives, the first that fits what is
//! there by then is taken. Nothing that was decided is taken back.

use std::collections::{BTreeMap, VecDeque};

use crate::index::{Index, Package};
use crate::relation::{Clause, Relation};

/// A package that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub version: Option<String>,
}

/// What an image has that nobody names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    #[default]
    Nothing,
    /// What says `Essential: yes`.
    Essential,
    /// That, and what has the priority `required`.
    Required,
}

/// Why there is no such image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: &'static str,
    pub message: String,
    /// Who needs it, and who needs that, a line each.
    pub chain: String,
    pub help: String,
    /// Which of the named packages it comes from.
    pub wanted: Option<usize>,
}

/// A package that was decided on, and why.
struct Chosen<'i, 't> {
    package: &'i Package<'t>,
    /// The package that needs it, and what that says.
    by: Option<(&'t str, String)>,
    wanted: Option<usize>,
}

struct Resolver<'i, 't> {
    index: &'i Index<'t>,
    architecture: &'i str,
    chosen: BTreeMap<&'t str, Chosen<'i, 't>>,
    /// Of which relations have not been looked at.
    fresh: VecDeque<&'t str>,
    /// Relations that can be satisfied in several ways: whose, in which field, and which.
    open: VecDeque<(&'t str, &'static str, Clause<'t>)>,
    problems: Vec<Problem>,
}

/// All packages of an image, by name.
///
/// # Errors
///
/// Everything that is in the way, not just the first.
pub fn resolve<'i, 't>(
    index: &'i Index<'t>,
    architecture: &'i str,
    wanted: &[Wanted],
    base: Base,
    recommends: bool,
) -> Result<Vec<&'i Package<'t>>, Vec<Problem>> {
    let mut resolver = Resolver {
        index,
        architecture,
        chosen: BTreeMap::new(),
        fresh: VecDeque::new(),
        open: VecDeque::new(),
        problems: Vec::new(),
    };
    for (number, wanted) in wanted.iter().enumerate() {
        resolver.want(number, wanted);
    }
    if base != Base::Nothing {
        for package in index.all() {
            if package.is_essential() || (base == Base::Required && package.rank() == 0) {
                resolver.add(package, None, None);
            }
        }
    }
    resolver.close(recommends);
    resolver.find_conflicts();
    match resolver.problems.is_empty() {
        true => Ok(resolver.chosen.into_values().map(|chosen| chosen.package).collect()),
        false => Err(resolver.problems),
    }
}

impl<'i, 't> Resolver<'i, 't> {
    fn want(&mut self, number: usize, wanted: &Wanted) {
        let Wanted { name, version } = wanted;
        let fits = |package: &&Package<'_>| version.as_ref().is_none_or(|version| package.version == version);
        if let Some(package) = self.index.versions(name).find(fits) {
            match self.chosen.get(package.name) {
                Some(chosen) if chosen.package.version != package.version => {
                    let other = chosen.package.version;
                    self.problem(
                        "debian-version",
                        format!("`{name}` is named in two versions, {other} and {}", package.version),
                        number,
                        "",
                    );
                }
                _ => self.add(package, None, Some(number)),
            }
            return;
        }
        let versions: Vec<&str> = self.index.versions(name).map(|package| package.version).collect();
        if let Some(version) = version.as_ref().filter(|_| !versions.is_empty()) {
            let help = format!("there is {}", versions.join(", "));
            self.problem(
                "debian-version",
                format!("there is no `{name}` in the version {version}"),
                number,
                &help,
            );
            return;
        }
        let providers: Vec<&str> = self.index.providers(name).iter().map(|package| package.name).collect();
        let help = match &providers[..] {
            [] => kiln_sdk::diagnose::nearest(name, self.index.names())
                .map(|near| format!("did you mean `{near}`?"))
                .unwrap_or_default(),
            providers => format!("it is provided by {}: name one of them", providers.join(", ")),
        };
        let message = format!("there is no package `{name}` for {}", self.architecture);
        self.problem("debian-no-package", message, number, &help);
    }

    fn problem(&mut self, code: &'static str, message: String, wanted: usize, help: &str) {
        let (chain, help) = (String::new(), help.to_owned());
        self.problems.push(Problem { code, message, chain, help, wanted: Some(wanted) });
    }

    fn add(&mut self, package: &'i Package<'t>, by: Option<(&'t str, String)>, wanted: Option<usize>) {
        if !self.chosen.contains_key(package.name) {
            self.chosen.insert(package.name, Chosen { package, by, wanted });
            self.fresh.push_back(package.name);
        }
    }

    /// Adds what is needed until nothing is.
    fn close(&mut self, recommends: bool) {
        let fields: &[&'static str] =
            if recommends { &["Pre-Depends", "Depends", "Recommends"] } else { &["Pre-Depends", "Depends"] };
        loop {
            while let Some(name) = self.fresh.pop_front() {
                let package = self.chosen[name].package;
                for field in fields {
                    match package.relations(field) {
                        Ok(clauses) => {
                            clauses.into_iter().for_each(|clause| self.look_at(name, field, clause, false))
                        }
                        Err(message) => {
                            let (chain, wanted) = self.chain(name);
                            self.problems.push(Problem {
                                code: "debian-malformed",
                                message,
                                chain,
                                help: String::new(),
                                wanted,
                            });
                        }
                    }
                }
            }
            match self.open.pop_front() {
                Some((name, field, clause)) => self.look_at(name, field, clause, true),
                None => break,
            }
        }
    }

    /// Satisfies a relation, at once if there is one way to, or if it `has_waited`.
    fn look_at(&mut self, name: &'t str, field: &'static str, clause: Clause<'t>, has_waited: bool) {
        if clause.iter().any(|relation| self.is_satisfied(relation)) {
            return;
        }
        let mut ways: Vec<&'i Package<'t>> = Vec::new();
        for relation in &clause {
            let more = self.ways(relation);
            ways.extend(more.into_iter().filter(|way| !self.clashes(way)));
        }
        match ways[..] {
            [] if field == "Recommends" => {}
            [] => self.unsatisfied(name, field, &clause),
            [_, _, ..] if !has_waited => self.open.push_back((name, field, clause)),
            [way, ..] => self.add(way, Some((name, format!("{field}: {}", text(&clause)))), None),
        }
    }

    fn is_here(&self, relation: &Relation<'_>) -> bool {
        relation.qualifier.is_none_or(|arch| matches!(arch, "any" | "native") || arch == self.architecture)
    }

    fn is_satisfied(&self, relation: &Relation<'_>) -> bool {
        self.is_here(relation) && self.chosen.values().any(|chosen| chosen.package.satisfies(relation))
    }

    /// Packages that are not there yet and would do, the best first: the one that is meant, else those that provide it.
    fn ways(&self, relation: &Relation<'_>) -> Vec<&'i Package<'t>> {
        if !self.is_here(relation) {
            return Vec::new();
        }
        let free = |package: &&&Package<'_>| !self.chosen.contains_key(package.name);
        let index = self.index;
        let own = index.versions(relation.name).find(|package| relation.holds_for(package.version));
        let mut ways: Vec<&'i Package<'t>> = own.iter().filter(free).copied().collect();
        if ways.is_empty() {
            let providers = index.providers(relation.name);
            ways.extend(providers.iter().filter(free).filter(|package| package.provides(relation)).copied());
        }
        ways
    }

    /// Whether a package and one that is there exclude each other.
    fn clashes(&self, package: &Package<'t>) -> bool {
        self.chosen.values().any(|chosen| {
            exclusion(package, chosen.package).or_else(|| exclusion(chosen.package, package)).is_some()
        })
    }

    fn find_conflicts(&mut self) {
        let all: Vec<&Package<'t>> = self.chosen.values().map(|chosen| chosen.package).collect();
        for one in &all {
            for other in &all {
                if let Some(why) = exclusion(one, other) {
                    let (chain, wanted) = self.chain(one.name);
                    let (second, _) = self.chain(other.name);
                    self.problems.push(Problem {
                        code: "debian-conflict",
                        message: format!(
                            "`{}` and `{}` {} cannot be in one image",
                            one.name, other.name, other.version
                        ),
                        chain: format!("`{}` says `{why}`\n{chain}\n{second}", one.name),
                        help: String::new(),
                        wanted,
                    });
                }
            }
        }
    }

    fn unsatisfied(&mut self, name: &'t str, field: &str, clause: &Clause<'t>) {
        let mut seen = Vec::new();
        for relation in clause {
            for package in self.index.versions(relation.name) {
                let chosen = self.chosen.get(relation.name).map(|chosen| chosen.package.version);
                let state = if chosen == Some(package.version) { "is in the image" } else { "is there" };
                seen.push(format!("`{}` {state} in the version {}", package.name, package.version));
            }
        }
        let (chain, wanted) = self.chain(name);
        let version = self.chosen[name].package.version;
        self.problems.push(Problem {
            code: "debian-unresolvable",
            message: format!("nothing satisfies `{field}: {}` of `{name}` {version}", text(clause)),
            chain,
            help: seen.join("; "),
            wanted,
        });
    }

    /// Who needs a package, and who needs that; and the named package that it ends with.
    fn chain(&self, name: &str) -> (String, Option<usize>) {
        let (mut lines, mut name) = (Vec::new(), name);
        while let Some(chosen) = self.chosen.get(name) {
            match &chosen.by {
                Some((by, why)) => {
                    lines.push(format!("`{name}` is needed by `{by}` ({why})"));
                    name = by;
                }
                None => {
                    let why = if chosen.wanted.is_some() { "is named here" } else { "is part of the base" };
                    lines.push(format!("`{name}` {why}"));
                    return (lines.join("\n"), chosen.wanted);
                }
            }
        }
        (lines.join("\n"), None)
    }
}

/// What one package says that excludes another. A package that provides what it excludes does not exclude itself.
fn exclusion(one: &Package<'_>, other: &Package<'_>) -> Option<String> {
    if one.name == other.name {
        return None;
    }
    ["Conflicts", "Breaks"].into_iter().find_map(|field| {
        let clauses = one.relations(field).ok()?;
        let relation = clauses.iter().flatten().find(|relation| other.satisfies(relation))?;
        Some(format!("{field}: {relation}"))
    })
}

fn text(clause: &Clause<'_>) -> String {
    clause.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
