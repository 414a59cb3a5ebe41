//! A configuration object read key by key, so that no key is passed over in silence.

use crate::error::{Error, Result};
use crate::names::Named;
use serde_json::{Map, Value};

/// A JSON object of which every key must be asked for; `null` counts as absent.
pub struct Keys<'a> {
    file: &'a str,
    map: &'a Map<String, Value>,
    seen: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub fn new(file: &'a str, map: &'a Map<String, Value>) -> Self {
        Self { file, map, seen: Vec::new() }
    }

    pub fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.seen.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub fn ignore(&mut self, key: &'static str) {
        self.seen.push(key);
    }

    /// Any key not asked for is something this library does not know how to honour.
    pub fn finish(&self) -> Result<()> {
        let unknown = self.map.keys().find(|key| !key.starts_with('_') && !self.seen.contains(&key.as_str()));
        match unknown {
            Some(key) => Err(self.unsupported(key, &self.map[key], "files without this key")),
            None => Ok(()),
        }
    }

    pub fn unsupported(&self, key: &str, found: impl ToString, supported: &str) -> Error {
        unsupported(self.file, key, found, supported)
    }

    pub fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        Error::bad_model(self.file, format!("{key} = {}, expected {expected}", shown(&found.to_string())))
    }

    /// An error for a key whose value is another than what the weights in `file` show.
    #[cfg(feature = "formats")]
    pub fn agrees(&mut self, key: &'static str, file: &str, found: &Value) -> Result<()> {
        match self.take(key) {
            Some(said) if said != found => {
                let said = shown(&said.to_string());
                Err(self.contradicted(format!("{key} = {said}, but {file} is of {found}")))
            }
            _ => Ok(()),
        }
    }

    /// An error for sides of images that are said to have attention, where the levels of a network of `size` have it otherwise. Sides
    /// that are no level's are of no effect.
    #[cfg(feature = "formats")]
    pub fn attention_agrees(
        &self,
        (key, said): (&str, &[u64]),
        file: &str,
        size: usize,
        attention: &[bool],
    ) -> Result<()> {
        let side = |level: usize| (size >> level) as u64;
        if (0..attention.len()).all(|level| said.contains(&side(level)) == attention[level]) {
            return Ok(());
        }
        let has: Vec<u64> = (0..attention.len()).filter(|level| attention[*level]).map(side).collect();
        Err(self.contradicted(format!("{key} = {said:?}, but {file} has attention at {has:?}")))
    }

    /// An error for a configuration of other weights.
    #[cfg(feature = "formats")]
    pub fn contradicted(&self, message: String) -> Error {
        Error::bad_model(self.file, message)
    }

    /// A positive count that no sane network exceeds.
    pub fn to_usize(&self, key: &'static str, value: &Value) -> Result<usize> {
        match value.as_u64() {
            Some(n @ 1..=1_000_000) => Ok(n as usize),
            _ => Err(self.wrong(key, value, "a whole number from 1 to 1000000")),
        }
    }

    pub fn usize(&mut self, key: &'static str, default: usize) -> Result<usize> {
        Ok(self.optional_usize(key)?.unwrap_or(default))
    }

    pub fn optional_usize(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.take(key).map(|value| self.to_usize(key, value)).transpose()
    }

    pub fn usize_or_zero(&mut self, key: &'static str, default: usize) -> Result<usize> {
        match self.take(key) {
            None => Ok(default),
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            Some(value) => self.to_usize(key, value),
        }
    }

    pub fn usizes(&mut self, key: &'static str, default: &[usize]) -> Result<Vec<usize>> {
        match self.take(key) {
            None => Ok(default.to_vec()),
            Some(Value::Array(values)) if (1..=8).contains(&values.len()) => {
                values.iter().map(|value| self.to_usize(key, value)).collect()
            }
            Some(other) => Err(self.wrong(key, other, "an array of 1 to 8 whole numbers")),
        }
    }

    pub fn f64(&mut self, key: &'static str, default: f64) -> Result<f64> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.wrong(key, value, "a number")),
        }
    }

    pub fn f32(&mut self, key: &'static str, default: f32) -> Result<f32> {
        let value = self.f64(key, default.into())? as f32;
        if value.is_finite() { Ok(value) } else { Err(self.unsupported(key, value, "a 32-bit float")) }
    }

    pub fn bool(&mut self, key: &'static str, default: bool) -> Result<bool> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false")),
        }
    }

    pub fn str(&mut self, key: &'static str, default: &'static str) -> Result<&'a str> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, value, "a string")),
        }
    }

    /// A word that names a value.
    pub fn named<T: Named>(&mut self, key: &'static str, default: T) -> Result<T> {
        let word = self.str(key, default.name())?;
        T::named(word).ok_or_else(|| self.unsupported(key, word, &T::names()))
    }

    pub fn only(&mut self, key: &'static str, supported: &'static str) -> Result<()> {
        // Here null has a meaning of its own (no middle block), which is not supported either.
        let found = self.map.get(key).map(Value::to_string);
        match (self.str(key, supported)?, found.as_deref()) {
            (value, found) if value == supported && found != Some("null") => Ok(()),
            (_, found) => Err(self.unsupported(key, found.unwrap_or_default(), supported)),
        }
    }

    pub fn null(&mut self, key: &'static str) -> Result<()> {
        match self.take(key) {
            None => Ok(()),
            Some(value) => Err(self.unsupported(key, value, "null")),
        }
    }

    /// What each of a list of block names means.
    pub fn block_types<T: Copy>(
        &mut self,
        key: &'static str,
        meanings: &[(&str, T)],
        default: &[T],
        levels: usize,
    ) -> Result<Vec<T>> {
        let types = match self.take(key) {
            None => default.to_vec(),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| {
                    let meaning = meanings.iter().find(|(name, _)| value.as_str() == Some(name));
                    meaning.map(|(_, meaning)| *meaning).ok_or_else(|| {
                        let names: Vec<&str> = meanings.iter().map(|(name, _)| *name).collect();
                        self.unsupported(key, value, &names.join(", "))
                    })
                })
                .collect::<Result<_>>()?,
            Some(other) => return Err(self.wrong(key, other, "an array of block names")),
        };
        if types.len() != levels {
            let message = format!("{key} has {} entries, block_out_channels {levels}", types.len());
            return Err(Error::bad_model(self.file, message));
        }
        Ok(types)
    }
}

/// A stranger's text as a message quotes it: its beginning, and no character that a terminal would obey.
pub fn shown(text: &str) -> String {
    let start = &text[..text.floor_char_boundary(120)];
    let mut shown: String = start
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if start.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

pub fn unsupported(file: &str, key: &str, found: impl ToString, supported: &str) -> Error {
    Error::UnsupportedModel {
        file: file.to_owned(),
        key: shown(key),
        found: shown(&found.to_string()),
        supported: supported.to_owned(),
    }
}
