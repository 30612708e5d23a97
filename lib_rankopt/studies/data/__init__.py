"""What people have said about images from elsewhere: data sets, folders, the webui's gallery. :class:`.service.Data` is the way in."""
