"""Documents that give orders to the model that reads them: how often it obeys."""
