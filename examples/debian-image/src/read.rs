//! Values of a TOML file, each with its place, and what is wrong with them.

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::place::Text;
use crate::recipe::Place;

/// Reads values and collects what is wrong.
pub struct Reader<'a> {
    pub file: Text<'a>,
    pub problems: Vec<Diagnostic>,
}

/// A table, and where it stands.
pub struct Table<'a> {
    entries: Vec<(String, Place, Spanned<DeValue<'a>>)>,
    pub place: Place,
}

impl<'a> Table<'a> {
    fn new(table: &DeTable<'a>, place: Place) -> Self {
        let entries = table.iter();
        let entries =
            entries.map(|(key, value)| (key.get_ref().to_string(), key.span(), value.clone())).collect();
        Self { entries, place }
    }

    fn get(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        self.entries.iter().find(|(known, ..)| known == key).map(|(_, _, value)| value)
    }
}

impl<'a> Reader<'a> {
    /// # Errors
    ///
    /// Where a text stops being TOML.
    pub fn open(file: Text<'a>) -> Result<(Self, Table<'a>), Vec<Diagnostic>> {
        match DeTable::parse(file.text) {
            Ok(table) => {
                let top = Table::new(table.get_ref(), 0..0);
                Ok((Self { file, problems: Vec::new() }, top))
            }
            Err(error) => {
                let place = error.span().unwrap_or(0..0);
                Err(vec![file.error("debian-syntax", error.message(), &place)])
            }
        }
    }

    /// Tells of keys that mean nothing.
    pub fn known(&mut self, table: &Table<'_>, keys: &[&str]) {
        for (key, place, _) in &table.entries {
            if !keys.contains(&key.as_str()) {
                let found = self.file.error("debian-key", format!("there is no `{key}`"), place);
                self.problems.push(match nearest(key, keys.iter().copied()) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found.help(format!("there are {}", keys.join(", "))),
                });
            }
        }
    }

    fn wrong_type(&mut self, wanted: &str, value: &Spanned<DeValue<'_>>) {
        let message = format!("{wanted} is wanted here, not a {}", value.get_ref().type_str());
        self.problems.push(self.file.error("debian-type", message, &value.span()));
    }

    pub fn string_at(&mut self, table: &Table<'_>, key: &str) -> Option<(String, Place)> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span())),
            _ => {
                self.wrong_type("a string", value);
                None
            }
        }
    }

    pub fn string(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        self.string_at(table, key).map(|(text, _)| text)
    }

    /// A string that has to be there.
    pub fn required(&mut self, table: &Table<'_>, key: &str) -> Option<String> {
        if table.get(key).is_none() {
            self.problems.push(self.file.error(
                "debian-missing",
                format!("`{key}` is missing"),
                &table.place,
            ));
        }
        self.string(table, key)
    }

    /// One of some words; the first when nothing is said.
    pub fn word<T: Copy>(&mut self, table: &Table<'_>, key: &str, words: &[(&str, T)]) -> T {
        let Some((text, place)) = self.string_at(table, key) else { return words[0].1 };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => *meaning,
            None => {
                let (last, others) = words.split_last().unwrap_or_else(|| unreachable!("there are words"));
                let others: Vec<&str> = others.iter().map(|(word, _)| *word).collect();
                let found = self.file.error("debian-word", format!("`{text}` is not known here"), &place);
                self.problems.push(found.help(format!("{} or {}", others.join(", "), last.0)));
                words[0].1
            }
        }
    }

    pub fn flag(&mut self, table: &Table<'_>, key: &str, otherwise: bool) -> bool {
        let Some(value) = table.get(key) else { return otherwise };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type("true or false", value);
            otherwise
        })
    }

    pub fn number(&mut self, table: &Table<'_>, key: &str) -> Option<u32> {
        let value = table.get(key)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none() {
            self.wrong_type("a number below 2^32", value);
        }
        number
    }

    pub fn strings(&mut self, table: &Table<'_>, key: &str) -> Vec<(String, Place)> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type("a list of strings", value);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for one in list.iter() {
            match one.get_ref() {
                DeValue::String(text) => strings.push((text.to_string(), one.span())),
                _ => self.wrong_type("a string", one),
            }
        }
        strings
    }

    /// Keys and the strings that they stand for.
    pub fn pairs(&mut self, table: &Table<'_>, key: &str) -> Vec<(String, String)> {
        let Some(inner) = self.table(table, key) else { return Vec::new() };
        let keys: Vec<String> = inner.entries.iter().map(|(key, ..)| key.clone()).collect();
        keys.into_iter().filter_map(|key| self.string(&inner, &key).map(|value| (key, value))).collect()
    }

    pub fn table<'t>(&mut self, table: &Table<'t>, key: &str) -> Option<Table<'t>> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::Table(inner) => Some(Table::new(inner, value.span())),
            _ => {
                self.wrong_type("a table", value);
                None
            }
        }
    }

    /// What is written as `[[key]]`.
    pub fn tables<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<Table<'t>> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&format!("`[[{key}]]`"), value);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for one in list.iter() {
            match one.get_ref() {
                DeValue::Table(inner) => tables.push(Table::new(inner, one.span())),
                _ => self.wrong_type("a table", one),
            }
        }
        tables
    }
}
