//! The small OSPFv3 router daemon.
fn main() {}
