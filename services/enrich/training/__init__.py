"""Makes the learned model: `klankbord train`."""
