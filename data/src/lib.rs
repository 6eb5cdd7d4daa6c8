//! cvx-data.
