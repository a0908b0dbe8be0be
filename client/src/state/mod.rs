//! What this machine remembers between runs, in sled: directory records and the numbers of packs.
//! All of it can be thrown away; the next run then reads every file again and sends nothing twice.

pub mod blocks;
pub mod db;
pub mod kinds;
pub mod own_snapshots;
pub mod queue;
pub mod records;
pub mod summary;
