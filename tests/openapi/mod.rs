//! An app's interface as others see it: the OpenAPI document and the page that shows it.

mod check;
mod page;

pub(crate) use check::check;
