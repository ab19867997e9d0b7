"""One linear map from a frozen vision encoder into a frozen language model: a LLaVA of its own."""
