//! `keystead timer ls|cancel`: named timers of entities.

use bytes::Bytes;
use http::Method;

use super::client::{AdminUrl, Path};
use super::message::{self, PageArgs};
use super::output::Output;
use crate::ids::EntityRef;

/// Look at timers, or cancel one
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List timers: those that are due and wait, then the others by time
    Ls(LsArgs),
    /// Cancel an entity's timer
    Cancel(CancelArgs),
}

/// Which timers to list.
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Only those of an app, a type or an entity
    #[arg(value_name = "APP[/TYPE[/KEY]]")]
    of: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// Which timer to cancel.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The entity; a key may hold slashes
    #[arg(value_name = "APP/TYPE/KEY")]
    entity: EntityRef,
    /// The timer's name
    name: String,
    #[command(flatten)]
    admin: AdminUrl,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Ls(args) => {
            let path = message::of(Path::new("/admin/v1/timers"), args.of.as_deref());
            message::list(path, &args.page, out, |page| message::render(page, "timers")).await
        }
        Verb::Cancel(args) => {
            let CancelArgs { entity, name, admin } = args;
            let path = Path::new("/admin/v1/timers").part(entity.app()).part(entity.kind());
            let path = path.part(entity.key()).query("name", name);
            let done = admin.client().document(Method::DELETE, path, Bytes::new()).await?;
            Ok(out.document(&done, |_| format!("timer {name} of {entity} is cancelled"))?)
        }
    }
}
