//! Names of values: the same in files, on the command line, in C's options and in what is printed.

/// A type whose few values have names.
pub trait Named: Copy + PartialEq + 'static {
    /// Every value under its names, the one that is written first.
    const NAMES: &'static [(&'static str, Self)];

    /// The name that is written.
    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }

    /// The value of a name.
    fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// All names, for a message: `a, b, c`.
    fn names() -> String {
        Self::NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// `named!(Type { "name" => Value, ... })`
macro_rules! named {
    ($type:ident { $($name:literal => $value:ident),* $(,)? }) => {
        impl $crate::names::Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$value)),*];
        }
    };
}
pub(crate) use named;
