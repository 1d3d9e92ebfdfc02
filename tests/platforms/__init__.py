"""The product on other releases of Debian and other Pythons; outside CI."""
