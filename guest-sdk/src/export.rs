//! The component's exports: `describe` and `handle` of the world, over the types that registered.
//! Types register themselves before the first call, by constructors that the linker collects.

use std::sync::{Mutex, Once, PoisonError};

use crate::bindings::exports::keystead::entity::handler::Guest;
use crate::bindings::keystead::entity::types::Failure;
use crate::entity::{EntityType, describe};
use crate::{Error, Result, host, panic};

static TYPES: Mutex<Vec<EntityType>> = Mutex::new(Vec::new());
static PANIC_HOOK: Once = Once::new();

/// Adds a type, in order of the names; a second one of the same name is ignored.
pub fn register(entity: EntityType) {
    let mut types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    if types.iter().all(|other| other.name() != entity.name()) {
        types.push(entity);
        types.sort_unstable_by_key(EntityType::name);
    }
}

struct App;

impl Guest for App {
    fn describe() -> Vec<u8> {
        PANIC_HOOK.call_once(panic::install);
        let types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
        describe(&types).into_bytes()
    }

    fn handle(name: String, input: Vec<u8>) -> Result<Vec<u8>, Failure> {
        PANIC_HOOK.call_once(panic::install);
        called_type().and_then(|entity| entity.handle(&name, &input)).map_err(|error| Failure {
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            details: error.details().map(<[u8]>::to_vec),
            retryable: error.is_retryable(),
        })
    }
}

mod symbols {
    #![allow(unsafe_code, reason = "the bindings' macro defines the component's exported symbols")]
    use super::App;

    crate::bindings::export_app!(App with_types_in crate::bindings);
}

/// The type of the entity that is called. An app of one type need not ask the host.
fn called_type() -> Result<EntityType> {
    let types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let [only] = types.as_slice() {
        return Ok(*only);
    }
    let kind = host::self_ref().kind;
    let entity = types.iter().find(|entity| entity.name() == kind).copied();
    entity.ok_or_else(|| {
        Error::rejected(format!("there is no entity type `{kind}`")).with_code("unknown_type")
    })
}
