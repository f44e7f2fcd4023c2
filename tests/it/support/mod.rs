//! What all tests share. Each kind of surroundings has one helper: the engine as a process ([`process`]) or embedded
//! ([`embedded`]), its clients ([`client`], [`socket`], [`raw`], [`crowd`]), its databases ([`postgres`], [`redis`],
//! [`store`], [`announcements`]) and their [`certificates`], the network between them ([`proxy`], [`balancer`]), the
//! machine ([`machine`]), and the checker of everything that happened ([`history`]).

pub mod announcements;
pub mod balancer;
pub mod campaign;
pub mod certificates;
pub mod client;
pub mod crowd;
pub mod daemon;
pub mod embedded;
pub mod history;
pub mod machine;
pub mod memory_store;
pub mod os;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis;
pub mod socket;
pub mod store;
pub mod wait;
