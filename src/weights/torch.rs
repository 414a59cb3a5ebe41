//! TEMP
use super::{Stored, source::Source};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
pub fn state_dict(source: &dyn Source) -> Result<BTreeMap<String, Stored>> {
    Err(Error::bad_model(source.name(), "TEMP"))
}
