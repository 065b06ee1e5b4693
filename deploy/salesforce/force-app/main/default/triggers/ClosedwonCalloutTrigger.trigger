/** Tells Closedwon of deals that have just been won, by a callout. Does nothing until a signing key is set. */
trigger ClosedwonCalloutTrigger on Opportunity(after insert, after update) {
    ClosedwonCalloutJob.start(ClosedwonDeals.newlyWon(Trigger.new, Trigger.oldMap));
}
