//! WebSockets and connections: for one order, for many orders, and with clients that are slow or hostile.

mod flood_campaign;
mod floods;
mod hostile_connections;
mod many_orders;
mod one_order;
mod slow_readers;
