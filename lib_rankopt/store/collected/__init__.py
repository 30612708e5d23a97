"""Images from elsewhere and what was said about them: data sets, folders, the webui's gallery. See :mod:`.base` for the contract."""
