"""The acuity chart: pages with ever smaller characters, who reads them, and what was read of them."""
