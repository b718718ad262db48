//! Containers by a real engine: the one that answers, or one of our own that ends with its handle.

mod compose;
mod engine;
mod kind;
mod own;

pub use compose::Project;
pub use engine::Engine;
pub use kind::{Kind, missing_packages};
