"""What is sold: the catalogue, price lists and promotions, outcomes of quotes and what becomes of them."""
