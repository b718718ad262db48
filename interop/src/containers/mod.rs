//! Containers by a real engine: the one that answers, or one of our own that ends with its handle.

mod compose;
mod engine;

pub use compose::Project;
pub use engine::{Engine, missing_packages};
