//! `keystead message show|cancel`: one call or send by its id. A message that was rejected or parked is an
//! error here too, with its exit code; one that is still on its way is not, and its status says so.

use bytes::Bytes;
use http::Method;

use super::client::{IngressUrl, Path};
use super::output::Output;
use crate::ids::MessageId;

const MESSAGES: &str = "/v1/messages";

/// Look at one message, or cancel it before it starts
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show where a message is, or the answer it came to
    Show(ShowArgs),
    /// Cancel a message that has not started
    Cancel(CancelArgs),
}

/// Which message to show.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The message's id
    id: MessageId,
    /// Wait this long for it to end, e.g. 30s
    #[arg(long, value_name = "TIME")]
    wait: Option<String>,
    #[command(flatten)]
    ingress: IngressUrl,
}

/// Which message to cancel.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The message's id
    id: MessageId,
    #[command(flatten)]
    ingress: IngressUrl,
}

pub(super) async fn run(verb: &Verb, out: &Output) -> anyhow::Result<()> {
    match verb {
        Verb::Show(args) => show(args, out).await,
        Verb::Cancel(args) => cancel(args, out).await,
    }
}

async fn show(args: &ShowArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(MESSAGES).part(&args.id.to_string()).maybe("wait", args.wait.as_deref());
    let answer = args.ingress.client().request(Method::GET, path, &[], Bytes::new()).await?;
    Ok(out.body(&answer.body, answer.is_text())?)
}

async fn cancel(args: &CancelArgs, out: &Output) -> anyhow::Result<()> {
    let path = Path::new(MESSAGES).part(&args.id.to_string());
    let status = args.ingress.client().document(Method::DELETE, path, Bytes::new()).await?;
    Ok(out.document(&status, |_| format!("{} cancelled", args.id))?)
}
