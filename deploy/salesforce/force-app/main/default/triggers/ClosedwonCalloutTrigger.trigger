/** Notifies Closedwon of deals that are won, changed or reopened. Does nothing until a signing key is set. */
trigger ClosedwonCalloutTrigger on Opportunity(after insert, after update) {
    ClosedwonCalloutJob.start(ClosedwonDeals.withNews(Trigger.new, Trigger.oldMap));
}
