"""Complete the settings of Lightning's Trainer, or refuse them."""
