//! What an entity type is to the SDK: its plain state, its table of handlers, and one call of one of them.
//! `#[entity]` and `#[handlers]` implement the two traits. Invariant: plain state is written only after a
//! command that succeeded, and only when it changed.

use std::marker::PhantomData;

use crate::context::{Ctx, QueryCtx};
use crate::migration::{self, MIGRATE, Migration};
use crate::schema::{self, Piece, Shape};
use crate::{Error, Result};

/// A struct that is an entity type's state; implemented by `#[entity]`.
pub trait Entity: Sized + 'static {
    /// The type's name: the struct's in snake_case.
    const TYPE: &'static str;
    /// Whether it has plain fields.
    const PLAIN: bool;
    /// The version of the state's shape: `#[entity(version = 2)]`.
    const VERSION: u32 = 1;
    /// Its fields as the describe document has them.
    #[doc(hidden)]
    const FIELDS: Shape = &[Piece::Text("{}")];

    /// The entity whose plain fields are this JSON object; a field that is missing has its default.
    #[doc(hidden)]
    fn load(plain: &[u8]) -> serde_json::Result<Self>;

    /// Its plain fields as a JSON object.
    #[doc(hidden)]
    fn plain(&self) -> serde_json::Result<Vec<u8>>;
}

/// An entity's handlers; implemented by `#[handlers]`.
pub trait Handlers: Entity {
    /// All of them, in the order of the source.
    const HANDLERS: &'static [Handler<Self>];
    /// The steps from older versions of its state, in any order.
    const MIGRATIONS: &'static [Migration<Self>] = &[];
}

/// One handler: its name, what it takes and gives, and how to run it.
#[derive(Debug, Clone, Copy)]
pub struct Handler<E> {
    name: &'static str,
    is_internal: bool,
    /// The doc comment's text as JSON; empty when there is none.
    about: &'static str,
    input: Shape,
    output: Shape,
    run: Run<E>,
}

#[derive(Debug, Clone, Copy)]
enum Run<E> {
    Command(Command<E>),
    Query(Query<E>),
}

/// Decodes the input, runs the method, encodes what it returned.
type Command<E> = fn(&mut E, &Ctx, &[u8]) -> Result<Vec<u8>>;
/// The same for a method that takes `&self`.
type Query<E> = fn(&E, &QueryCtx, &[u8]) -> Result<Vec<u8>>;

impl<E> Handler<E> {
    /// A `&mut self` method; `input` and `output` are its bodies in the describe document: `{"json": SCHEMA}` or
    /// `{"bytes": CONTENT_TYPE}`.
    #[must_use]
    pub const fn command(name: &'static str, input: Shape, output: Shape, run: Command<E>) -> Self {
        Self { name, is_internal: false, about: "", input, output, run: Run::Command(run) }
    }

    /// A `&self` method.
    #[must_use]
    pub const fn query(name: &'static str, input: Shape, output: Shape, run: Query<E>) -> Self {
        Self { name, is_internal: false, about: "", input, output, run: Run::Query(run) }
    }

    /// The same command for entities of the app, timers and replies only: nobody outside can call it.
    #[must_use]
    pub const fn internal(mut self) -> Self {
        self.is_internal = true;
        self
    }

    /// The same with the text of its doc comment, a JSON string.
    #[must_use]
    pub const fn about(mut self, json: &'static str) -> Self {
        self.about = json;
        self
    }

    /// Who may call it, and whether it may write.
    #[must_use]
    pub const fn kind(&self) -> HandlerKind {
        match self.run {
            Run::Query(_) => HandlerKind::Query,
            Run::Command(_) if self.is_internal => HandlerKind::Internal,
            Run::Command(_) => HandlerKind::Command,
        }
    }
}

/// Who may call a handler, and whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerKind {
    /// Writes; for everybody.
    Command,
    /// Only reads; for the world outside.
    Query,
    /// Writes; for entities of the app, timers and replies.
    Internal,
}

impl HandlerKind {
    /// As the describe document has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
            Self::Internal => "internal",
        }
    }
}

/// An entity type with its Rust type forgotten.
#[derive(Debug, Clone, Copy)]
pub struct EntityType {
    name: &'static str,
    describe: fn(&mut String),
    handle: fn(&str, &[u8]) -> Result<Vec<u8>>,
    kind_of: fn(&str) -> Option<HandlerKind>,
    gives_bytes: fn(&str) -> bool,
}

impl EntityType {
    /// The type `E`.
    #[must_use]
    pub const fn of<E: Handlers>() -> Self {
        Self {
            name: E::TYPE,
            describe: write_type::<E>,
            handle: run::<E>,
            kind_of: kind_of::<E>,
            gives_bytes: gives_bytes::<E>,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The kind of its handler `name`; none when it has no such handler.
    #[must_use]
    pub fn kind_of(&self, name: &str) -> Option<HandlerKind> {
        (self.kind_of)(name)
    }

    /// Whether its handler `name` answers with bytes that are not JSON.
    #[must_use]
    pub fn gives_bytes(&self, name: &str) -> bool {
        (self.gives_bytes)(name)
    }

    /// Runs its handler `name` on the entity that the host is calling.
    ///
    /// # Errors
    /// The handler's failure, or the input's.
    pub fn handle(&self, name: &str, input: &[u8]) -> Result<Vec<u8>> {
        (self.handle)(name, input)
    }
}

/// The describe document of an app that is made of these types.
#[must_use]
pub fn describe(types: &[EntityType]) -> String {
    let mut out = format!(
        r#"{{"sdk":{{"name":"{}","version":"{}"}},"entities":["#,
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION")
    );
    for (position, entity) in types.iter().enumerate() {
        out.push_str(if position > 0 { "," } else { "" });
        (entity.describe)(&mut out);
    }
    out.push_str("]}");
    out
}

/// The handlers that the SDK adds to a type. Their names have a `-`, as no author's has.
struct Own<E>(PhantomData<E>);

impl<E: Handlers> Own<E> {
    const HANDLERS: &'static [Handler<E>] =
        if E::MIGRATIONS.is_empty() { &[] } else { &[Self::MIGRATE] };

    /// A command like any other, whose state is brought to the code's version before it runs.
    const MIGRATE: Handler<E> =
        Handler::command(MIGRATE, NO_ARGUMENTS, NOTHING, |_, _, _| Ok(b"null".to_vec())).internal();
}

const NO_ARGUMENTS: Shape = &[Piece::Text(
    r#"{"json":{"type":"object","properties":{},"required":[],"additionalProperties":false}}"#,
)];
const NOTHING: Shape = &[Piece::Text(r#"{"json":{"type":"null"}}"#)];

fn handlers<E: Handlers>() -> impl Iterator<Item = &'static Handler<E>> {
    E::HANDLERS.iter().chain(Own::<E>::HANDLERS)
}

fn run<E: Handlers>(name: &str, input: &[u8]) -> Result<Vec<u8>> {
    let Some(handler) = handlers::<E>().find(|handler| handler.name == name) else {
        let text = format!("{} has no handler `{name}`", E::TYPE);
        return Err(Error::rejected(text).with_code("unknown_handler"));
    };
    match handler.run {
        Run::Query(query) => query(&migration::load(true)?.entity, &QueryCtx::new(), input),
        Run::Command(command) => {
            let mut loaded = migration::load(false)?;
            let reply = command(&mut loaded.entity, &Ctx::new(), input)?;
            loaded.store()?;
            Ok(reply)
        }
    }
}

fn kind_of<E: Handlers>(name: &str) -> Option<HandlerKind> {
    handlers::<E>().find(|handler| handler.name == name).map(Handler::kind)
}

fn gives_bytes<E: Handlers>(name: &str) -> bool {
    let handler = E::HANDLERS.iter().find(|handler| handler.name == name);
    let output = handler.and_then(|handler| handler.output.first());
    matches!(output, Some(Piece::Text(text)) if text.starts_with(r#"{"bytes""#))
}

fn write_type<E: Handlers>(out: &mut String) {
    let (version, oldest) = (E::VERSION, const { migration::oldest::<E>() });
    out.push_str(&format!(r#"{{"type":"{}","state":{{"version":{version},"#, E::TYPE));
    if oldest < version {
        out.push_str(&format!(r#""migrates_from":{oldest},"#));
    }
    out.push_str(r#""fields":"#);
    schema::write(E::FIELDS, out);
    out.push_str("},");
    if oldest < version {
        out.push_str(&format!(r#""migrate":"{MIGRATE}","#));
    }
    out.push_str(r#""handlers":["#);
    for (position, handler) in handlers::<E>().enumerate() {
        let Handler { name, about, input, output, .. } = handler;
        out.push_str(if position > 0 { "," } else { "" });
        for part in [r#"{"name":""#, name, r#"","kind":""#, handler.kind().as_str(), "\""] {
            out.push_str(part);
        }
        if !about.is_empty() {
            out.push_str(r#","about":"#);
            out.push_str(about);
        }
        out.push_str(r#","input":"#);
        schema::write(input, out);
        out.push_str(r#","output":"#);
        schema::write(output, out);
        out.push('}');
    }
    out.push_str("]}");
}

/// Adds an entity type to the component. `#[handlers]` does it by itself; a crate does it by hand for a type
/// that another crate defines.
#[macro_export]
macro_rules! register {
    ($entity:ty) => {
        // The linker collects what lies in this section, and the bindings run it before the first call.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            extern "C" fn register() {
                $crate::export::register($crate::EntityType::of::<$entity>());
            }

            #[used]
            #[unsafe(link_section = ".init_array")]
            static REGISTER: extern "C" fn() = register;
        };
    };
}
