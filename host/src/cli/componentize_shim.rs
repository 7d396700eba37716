//! INTEGRATOR: delete this file, its `mod` line, and the `use` of it in build.rs, once the engine has its own
//! `componentize`. Same signature; nothing else uses it.

use crate::engine::PrepareError;

pub(super) fn componentize(module: &[u8]) -> Result<Vec<u8>, PrepareError> {
    let encoder = wit_component::ComponentEncoder::default().validate(true).module(module);
    let encoded = encoder.and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| PrepareError::NotAComponent(format!("{error:#}")))
}
