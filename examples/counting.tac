# Run it in this folder, with: PYTHONPATH=. twistd --nodaemon --python counting.tac
from counting_app import makeService
from twisted.application.service import Application

application = Application("counting")
makeService().setServiceParent(application)
