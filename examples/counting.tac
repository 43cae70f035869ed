# Run it with: twistd --nodaemon --python counting.tac
from counting_app import makeService
from twisted.application.service import Application

application = Application("counting")
makeService().setServiceParent(application)
