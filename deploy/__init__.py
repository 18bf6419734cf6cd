"""How Klankbord is deployed."""
