//! cvx-backbone.
