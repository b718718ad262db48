//! `lab bench`: ospfd-lite, FRR and BIRD as the device under test beside each other, on one machine in one run, all fed by the
//! same injector.

pub mod book;
pub mod cell;
pub mod device;
pub mod graph;
pub mod injector;
pub mod measure;
pub mod routes;
pub mod scenes;
pub mod session;
