//! What goes over the wire: one endpoint type a route, bodies, error codes.
