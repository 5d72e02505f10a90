//! stub
use crate::answer::{Outcome, Refusal};
use crate::backend::Backend;
use crate::exchange::Exchange;
use crate::route::FileKey;
/// stub
pub async fn metadata<B: Backend>(_: &Exchange<'_, B>, _: FileKey<'_>) -> Outcome { Err(Refusal::not_found("x")) }
/// stub
pub async fn metadatas<B: Backend>(_: &Exchange<'_, B>, _: FileKey<'_>) -> Outcome { Err(Refusal::not_found("x")) }
/// stub
pub async fn content<B: Backend>(_: &Exchange<'_, B>, _: FileKey<'_>) -> Outcome { Err(Refusal::not_found("x")) }
